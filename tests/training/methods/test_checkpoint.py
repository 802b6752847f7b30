"""The doors: weights that somebody else trained, under the names that somebody else gave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from oodbench.core import registry
from oodbench.core.dataset import Geometry
from oodbench.core.errors import UserError
from oodbench.core.network import Network, Task
from oodbench.data.images import to_float
from oodbench.runs.runner import run
from oodbench.suite.parse import parse_suite
from oodbench.suite.plan import make_plan

TASK = Task("image", (3, 32, 32), 5, (0.4,) * 3, (0.3,) * 3)


def make(spec: Any, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return registry.build("network", spec, TASK)


def trained(network: nn.Module) -> nn.Module:
    """Random statistics too, so that forgetting a buffer shows."""
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return network.eval()


def load(file: Path, network: Network) -> Network:
    registry.build("method", {"checkpoint": {"file": str(file)}}).load(network)
    return network.eval()


def same_function(ours: Network, theirs: nn.Module) -> None:
    x = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs((x - 0.4) / 0.3))


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "densenet121", "mobilenet_v3_small"])
def test_a_torchvision_architecture_that_somebody_trained(name: str, tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(1)
    theirs = trained(torchvision.models.get_model(name, num_classes=5))
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    same_function(load(tmp_path / "theirs.pth", make({"torchvision": {"model": name}})), theirs)
    if name == "resnet18":
        same_function(load(tmp_path / "theirs.pth", make("resnet18-224")), theirs)


def test_a_suite_scores_a_torchvision_model_that_somebody_trained(tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(1)
    theirs = trained(torchvision.models.mobilenet_v3_small(num_classes=3))
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    pair = {
        "name": "three", "id": {"digits": {"classes": [0, 1, 2]}}, "near": [{"digits": {"classes": [7]}}],
        "geometry": {"shape": [3, 32, 32]},
    }  # fmt: skip
    suite = parse_suite({
        "name": "theirs", "pairs": [pair], "networks": [{"torchvision": {"model": "mobilenet_v3_small"}}],
        "scorers": ["msp", "vim"],
        "methods": [{"checkpoint": {"file": str(tmp_path / "theirs.pth")}}],
    })  # fmt: skip
    done = run(suite, results=tmp_path, device="cpu")
    assert (done.rows.status == "ok").all()
    data = registry.build("dataset", pair["id"])
    geometry = Geometry((3, 32, 32))
    train, test = (to_float(data[s].read(range(len(data[s])), geometry)) for s in ("train", "test"))
    mean, std = (getattr(train, f)((0, 2, 3), keepdim=True) for f in ("mean", "std"))
    with torch.no_grad():
        right = theirs((test - mean) / std).argmax(dim=1) == data["test"].labels
    assert done.rows.id_accuracy.dropna().iloc[0] == pytest.approx(float(right.float().mean()), abs=0.01)


class Cifar(nn.Module):
    """A ResNet-18 for small images under OpenOOD's names: conv1, bn1, layer1..4, fc."""

    def __init__(self, head: str = "fc") -> None:
        super().__init__()
        parts = make("resnet18-32", seed=3)
        for name, module in parts.body.named_children():
            self.add_module(name, module)
        self.add_module(head, parts.head)

    def forward(self, x: Tensor) -> Tensor:
        for module in self.children():
            x = module(x)
        return x


@pytest.mark.parametrize(
    "prefix", ["", "module.", "model.", "backbone.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_openoods_names_prefixes_and_wrappers(prefix: str, wrapper: str | None, tmp_path: Path) -> None:
    theirs = trained(Cifar())
    state: Any = {prefix + k: v for k, v in theirs.state_dict().items()}
    torch.save({wrapper: state, "epoch": 7} if wrapper else state, tmp_path / "best.ckpt")
    same_function(load(tmp_path / "best.ckpt", make("resnet18-32")), theirs)


@pytest.mark.parametrize("head", ["linear", "classifier", "head"])
def test_the_head_may_have_any_name(head: str, tmp_path: Path) -> None:
    theirs = trained(Cifar(head))
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    same_function(load(tmp_path / "theirs.safetensors", make("resnet18-32")), theirs)


def test_our_own_names_and_a_head_without_bias(tmp_path: Path) -> None:
    ours = trained(make("vgg32", seed=1))
    save_file(ours.state_dict(), tmp_path / "ours.safetensors")
    again = load(tmp_path / "ours.safetensors", make("vgg32", seed=2))
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in ours.state_dict().items())
    renamed = {k.replace("head.", "fc."): v for k, v in ours.state_dict().items()}
    save_file(renamed, tmp_path / "renamed.safetensors")
    assert torch.equal(load(tmp_path / "renamed.safetensors", make("vgg32")).head.weight, ours.head.weight)  # type: ignore[attr-defined]


def test_files_without_batch_counters_load(tmp_path: Path) -> None:
    theirs = trained(Cifar())
    torch.save({k: v for k, v in theirs.state_dict().items() if "num_batches" not in k}, tmp_path / "old.pt")
    same_function(load(tmp_path / "old.pt", make("resnet18-32")), theirs)


def change(state: dict[str, Tensor], what: str) -> Any:
    if what == "missing":
        return {k: v for k, v in state.items() if not k.startswith("layer4.1")}
    if what == "unknown":
        return state | {"layer5.weight": torch.zeros(3), "layer5.bias": torch.zeros(3)}
    if what == "both":
        return {
            k.replace("conv1.weight", "stem.weight") if k == "conv1.weight" else k: v
            for k, v in state.items()
        }
    if what == "shape":
        return state | {"conv1.weight": torch.zeros(64, 1, 3, 3)}
    if what == "classes":
        return state | {"fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
    if what == "bias":
        return {k: v for k, v in state.items() if k != "fc.bias"}
    if what == "nan":
        return state | {"fc.bias": torch.full((5,), torch.nan)}
    return {"epoch": 3}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("missing", r"'body.layer4.1.bn1.bias', .* and 6 more are missing; it should hold the 122 tensors"),
        (
            "unknown",
            r"'layer5.bias', 'layer5.weight' are not in the network \(`strict: false` leaves them out\)",
        ),
        ("both", r"'body.conv1.weight' is missing; 'stem.weight' is not in the network"),
        ("shape", r"'body.conv1.weight' has the shape \(64, 1, 3, 3\), the network's has \(64, 3, 3, 3\)"),
        ("classes", r"its head 'fc' gives 10 classes, the network's 5; it should hold the 122 tensors"),
        ("bias", r"its head 'fc' has no bias; it should hold the 122 tensors"),
        ("nan", "'head.bias' is not finite"),
        ("nothing", r"holds no tensors by name, but epoch \(int\)$"),
    ],
)
def test_what_does_not_fit_is_listed_in_one_line(what: str, message: str, tmp_path: Path) -> None:
    torch.save(change(Cifar().state_dict(), what), tmp_path / "wrong.pt")
    with pytest.raises(UserError, match=message) as found:
        load(tmp_path / "wrong.pt", make("resnet18-32"))
    assert "\n" not in str(found.value)


class Trap:
    def __reduce__(self) -> Any:
        return (print, ("executed",))


def test_a_file_is_never_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(UserError, match=r"holds Python objects besides tensors \(.*print\), which are not"):
        load(tmp_path / "trap.pt", make("resnet18-32"))
    (tmp_path / "noise.safetensors").write_bytes(b"no tensors here")
    with pytest.raises(UserError, match="is no checkpoint of torch or safetensors, or damaged"):
        load(tmp_path / "noise.safetensors", make("resnet18-32"))
    assert "executed" not in capsys.readouterr().out


def test_of_several_that_fit_the_user_says_which(tmp_path: Path) -> None:
    first, second = trained(Cifar()), trained(Cifar())
    assert isinstance(second.fc, nn.Linear)
    with torch.no_grad():
        second.fc.weight.mul_(2)
    file = tmp_path / "both.pt"
    torch.save({"model": first.state_dict(), "extra": {"ema": second.state_dict()}, "epoch": 1}, file)
    with pytest.raises(
        UserError, match=r"several state dicts fit: 'model', 'extra.ema'; say which with `key`"
    ):
        load(file, make("resnet18-32"))
    network = make("resnet18-32")
    registry.build("method", {"checkpoint": {"file": str(file), "key": "extra.ema"}}).load(network)
    same_function(network.eval(), second)
    with pytest.raises(UserError, match=r"no state dict at key 'emma'; there: 'model', 'extra.ema'"):
        registry.build("method", {"checkpoint": {"file": str(file), "key": "emma"}}).load(network)
    torch.save({"model": first.state_dict(), "ema": first.state_dict()}, file)
    same_function(load(file, make("resnet18-32")), first)  # the same twice is one


def test_a_file_that_changed_is_another_key_and_a_wrong_one_is_refused_before_any_work(
    tmp_path: Path,
) -> None:
    pair = {"name": "p", "id": {"digits": {"classes": [0, 1, 2]}}, "near": [{"digits": {"classes": [7]}}]}
    raw = {
        "name": "s", "pairs": [pair], "networks": [{"mlp": {"hidden": [8]}}], "scorers": ["msp"],
        "methods": [{"checkpoint": {"file": str(tmp_path / "w.pt")}}],
    }  # fmt: skip
    network = registry.build("network", raw["networks"][0], Task("image", (1, 8, 8), 3, (0.0,), (1.0,)))
    keys = set()
    for value in (0.1, 0.2):
        torch.save({k: torch.full_like(v, value) for k, v in network.state_dict().items()}, tmp_path / "w.pt")
        keys.add(make_plan(parse_suite(raw)).runs[0].key)
    assert len(keys) == 2
    (tmp_path / "w.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"checkpoint .*w.pt: is empty"):
        make_plan(parse_suite(raw))


def test_a_prefix_that_is_given_and_one_that_nothing_has(tmp_path: Path) -> None:
    first, second = trained(Cifar()), trained(Cifar())
    assert isinstance(second.fc, nn.Linear)
    with torch.no_grad():
        second.fc.weight.mul_(2)
    both = {f"teacher.{k}": v for k, v in first.state_dict().items()}
    both |= {f"student.{k}": v for k, v in second.state_dict().items()}
    file = tmp_path / "both.pt"
    torch.save({"net": both}, file)
    for prefix in ("student", "student."):
        network = make("resnet18-32")
        registry.build("method", {"checkpoint": {"file": str(file), "prefix": prefix}}).load(network)
        same_function(network.eval(), second)
    wrong = registry.build("method", {"checkpoint": {"file": str(file), "prefix": "stud"}})
    message = r"no tensor's name begins with the prefix 'stud\.'; they begin with 'student\.', 'teacher\.'$"
    for ask in (wrong.check, lambda: wrong.load(make("resnet18-32"))):
        with pytest.raises(UserError, match=message):
            ask()


def test_not_strict_leaves_out_what_the_network_lacks_and_no_more(tmp_path: Path) -> None:
    theirs = trained(Cifar())
    file = tmp_path / "more.pt"
    torch.save({**theirs.state_dict(), "projection.weight": torch.zeros(3, 3)}, file)
    with pytest.raises(UserError, match="`strict: false` leaves it out"):
        load(file, make("resnet18-32"))
    loose = registry.build("method", {"checkpoint": {"file": str(file), "strict": False}})
    network = make("resnet18-32")
    loose.load(network)
    same_function(network.eval(), theirs)
    torch.save({k: v for k, v in theirs.state_dict().items() if k != "conv1.weight"}, file)
    with pytest.raises(UserError, match=r"'body\.conv1\.weight' is missing"):
        loose.load(make("resnet18-32"))


def test_a_projection_is_called_shortcut_or_downsample(tmp_path: Path) -> None:
    import torchvision

    theirs = trained(torchvision.models.resnet18(num_classes=5))
    state = {k.replace(".downsample.", ".shortcut."): v for k, v in theirs.state_dict().items()}
    torch.save(state, tmp_path / "theirs.pth")
    same_function(load(tmp_path / "theirs.pth", make("resnet18-224")), theirs)


def test_another_architecture_is_one_line_with_the_nearest_layers(tmp_path: Path) -> None:
    import torchvision

    for name, message in (
        ("vit_b_16", r"nearest to its '[a-z0-9_.]+' \(.*\) here is 'body\.[a-z0-9_.]+' \("),
        (
            "resnet50",
            r"'body\.layer1\.0\.conv1\.weight' has the shape \(64, 64, 1, 1\), the network's has \(64, 64, 3",
        ),
    ):
        with torch.device("meta"):
            model = torchvision.models.get_model(name, num_classes=5)
        state = {k: torch.zeros(v.shape) for k, v in model.state_dict().items()}
        torch.save(state, tmp_path / "theirs.pth")
        with pytest.raises(UserError, match=message) as caught:
            load(tmp_path / "theirs.pth", make("resnet18-224"))
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 1200


def test_pretrained_keeps_what_the_network_came_with() -> None:
    network = make("resnet18-32", seed=4)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    method = registry.build("method", "pretrained")
    assert method.provides == "weights"
    method.load(network)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
