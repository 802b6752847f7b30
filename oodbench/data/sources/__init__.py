"""Where data lie and how files are read: what data-set components are written with."""
