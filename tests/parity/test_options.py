"""Options that no recorded case has, beside a computation of their own from the equations."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from emotailor.data.batching import Batch
from emotailor.data.sample import MODALITIES, Modality
from emotailor.models.tailor.model import Tailor
from tests.models.alignment.parity import PREFIX
from tests.models.dfg import parity as dfg
from tests.models.lddu import parity as lddu
from tests.models.tailor import parity as tailor
from tests.parity.__main__ import main
from tests.parity.case import Case, CaseError
from tests.parity.options import difference, in_float64, recorded
from tests.parity.recorder import Recorder
from tests.parity.systems import compare

__all__ = ["in_float64"]  # a fixture of every test here


# --- MulT


@pytest.mark.parametrize(
    ("letter", "entry"), [("l", "in.text"), ("a", "in.audio"), ("v", "in.vision")]
)
def test_mult_leaves_a_modality_of_its_own_width_as_it_is(letter: str, entry: str) -> None:
    """Frames that are projected already must give the numbers of those that are not."""
    case = recorded("mult", "variable_lengths_nomask")
    weight = case.weights[f"proj_{letter}.weight"]
    projected = F.linear(case.io[entry], weight[..., 0])
    width = case.info["config"]["d"]
    # the program builds the projection all the same, and never uses it
    unused = torch.randn(width, width, 1, generator=torch.Generator().manual_seed(0))
    changed = case.changed(
        {f"orig_d_{letter}": width}, {entry: projected}, {f"proj_{letter}.weight": unused}
    )
    failed = {row[0].split(" ")[0] for row in compare(changed).failures}
    # of what is not used there is no gradient, and that of the input is of another input
    own = {
        f"grad.{scalar}.{x}"
        for scalar in ("linear", "bce")
        for x in (f"proj_{letter}.weight", entry)
    }
    assert failed <= own
    assert difference(compare(changed), "out.logits") < 2e-6


# --- TAILOR


def test_tailor_weighs_its_losses_as_the_case_says() -> None:
    """The total and its gradient are those of the recorded terms, weighted anew."""
    case = recorded("tailor", "aligned_default_depth")
    weights = {"ml": 2.5, "cml": 0.3, "adv": 0.7, "diff": 0.02, "ctc": 0.5}
    terms = {
        "ml": weights["ml"],
        "cml": weights["cml"],
        "adv_common": weights["adv"],
        "adv_private": weights["adv"],
        "diff_common_private": weights["diff"],
        "diff_private_private": weights["diff"],
    }
    total = torch.stack([w * case.io[f"loss/{name}"] for name, w in terms.items()]).sum()
    found = compare(case.changed({"loss_weights": weights}, {"loss/total": total}))
    failed = {row[0] for row in found.failures}
    assert "loss/total" not in failed
    assert failed
    assert all(name.startswith("grad/") for name in failed)  # those of the shipped weights


def unaligned_case() -> Case:
    """A synthetic unaligned case: the recorded aligned one behind alignment modules."""
    case = recorded("tailor", "aligned_default_depth")
    generator = torch.Generator().manual_seed(7)
    steps = case.info["config"]["text_len"]
    samples = len(case.io["input/labels"])
    frames = {"visual": steps + 4, "audio": steps + 9}
    weights: dict[str, Tensor] = {}
    inputs: dict[str, Tensor] = {}
    for m, prefix in tailor.ALIGNERS.items():
        dim = case.io[f"input/{m}"].shape[2]
        lstm = nn.LSTM(dim, steps + 1, num_layers=2)
        for name, x in lstm.named_parameters():
            weights[prefix + name] = torch.randn(x.shape, generator=generator)
        inputs[f"input/{m}"] = torch.randn(samples, frames[m], dim, generator=generator)
    return case.changed({"aligned": False}, inputs, weights)


def pseudo_aligned(case: Case, modality: str) -> Tensor:
    """Softmax of the LSTM's states over positions, without the blank's, times the normed frames."""
    x = case.io[f"input/{modality}"]
    norm = f"{modality}_norm.{modality}_norm2d"
    normed = F.layer_norm(
        x, x.shape[-1:], case.weights[f"{norm}.weight"], case.weights[f"{norm}.bias"], 1e-12
    )
    prefix = {"visual": "v2t_ctc.", "audio": "a2t_ctc."}[modality] + PREFIX
    steps = case.info["config"]["text_len"]
    lstm = nn.LSTM(x.shape[-1], steps + 1, num_layers=2, batch_first=True)
    lstm.load_state_dict(
        {n.removeprefix(prefix): w for n, w in case.weights.items() if n.startswith(prefix)}
    )
    shares = lstm(normed)[0].softmax(-1)[..., 1:]
    return shares.transpose(1, 2) @ normed


def test_unaligned_tailor_masks_what_it_aligned() -> None:
    """Padded masks act on the aligned steps, each modality's own; the alignment knows none."""
    case = unaligned_case()
    padded = {m: case.io[f"input/{m}_mask"].bool() for m in MODALITIES}
    assert not all(mask.all() for mask in padded.values())
    model, _ = tailor.build(case)
    found = model(tailor.read_batch(case.io, aligned=False), features=True)

    plain, _ = tailor.build(recorded("tailor", "aligned_default_depth"))
    assert isinstance(plain, Tailor)
    values: dict[Modality, Tensor] = {
        "visual": pseudo_aligned(case, "visual"),
        "audio": pseudo_aligned(case, "audio"),
        "text": case.io["input/text"],
    }
    for m in ("visual", "audio"):  # what is aligned is normalised already
        plain.input_norms[m] = nn.Identity()
    expected = plain(Batch(values, padded, case.io["input/labels"], ["a", "b", "c"]), features=True)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-9, atol=1e-9)
    for name, loss in expected.losses.items():
        torch.testing.assert_close(found.losses[name], loss, rtol=1e-9, atol=1e-9)
    everything = {m: torch.ones_like(mask) for m, mask in padded.items()}
    unmasked = plain(Batch(values, everything, None, ["a", "b", "c"]))
    assert (unmasked.logits - expected.logits).abs().max() > 1e-3


def test_unaligned_tailor_with_masks_compares_like_any_case() -> None:
    """A case whose masks are padded is run to its end, and its intermediates are found."""
    case = unaligned_case()
    model, _ = tailor.build(case)
    seen = Recorder(model)
    output = model(tailor.read_batch(case.io, aligned=False), features=True)
    aligned = {f"ctc/pseudo_aligned/{m}": pseudo_aligned(case, m) for m in ("visual", "audio")}
    changed = case.changed(io={**aligned, "logits": output.logits.detach()})
    found = compare(changed)
    assert seen.outputs
    for name in [*aligned, "logits"]:
        assert difference(found, name) < 1e-9


# --- SIMM


def simm_by_hand(case: Case, views: int) -> dict[str, Tensor]:
    """The equations of SIMM, as its notes state them."""
    w = case.weights
    x = [case.io[f"view_{k}"] for k in range(views)]

    def layer(name: str, value: Tensor) -> Tensor:
        return F.linear(value, w[f"{name}.weight"], w[f"{name}.bias"])

    own = [layer(f"view_blocks.{k}.fc_private", x[k]).relu() for k in range(views)]
    entered = [layer(f"view_blocks.{k}.fc_extract_comm", x[k]).relu() for k in range(views)]
    shared = [layer("fc_comm_extract", value) for value in entered]
    mean = torch.stack(shared).mean(0)
    logits = layer("fc_predictor", torch.cat([*own, mean], 1))
    labels = case.io["y"]
    samples = len(labels)

    ml = F.binary_cross_entropy_with_logits(logits, labels)
    each = [
        F.binary_cross_entropy_with_logits(layer("fc_comm_predictor", c), labels) for c in shared
    ]
    ce = [
        F.cross_entropy(layer("discriminator", c), torch.full((samples,), k))
        for k, c in enumerate(shared)
    ]
    variants = {
        "F": [(s @ mean.T).square().sum() / samples**2 for s in own],
        "L2": [(s * mean).sum(1).square().mean() for s in own],
        "L1": [(s * mean).sum(1).abs().mean() for s in own],
    }
    chosen = case.info["config"]["regularization_type"]
    found = {
        "logits": logits,
        "loss.ml": ml,
        "loss.shared_ml": torch.stack(each).mean(),
        "loss.adversarial": (-torch.stack(ce).mean()).exp(),
        "loss.orthogonal": torch.stack(variants[chosen]).mean(),
    }
    c = case.info["config"]["loss_coefficient"]
    found["loss.total"] = (
        c["ML_loss"] * ml
        + c["GAN_loss"] * found["loss.adversarial"]
        + c["comm_ML_loss"] * found["loss.shared_ml"]
        + c["orthogonal_regularization"] * found["loss.orthogonal"]
    )
    return found


@pytest.mark.parametrize("kind", ["F", "L1", "L2"])
@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("main_weight", [1.0, 2.0])
def test_simm_of_any_views_variant_and_weights(kind: str, views: int, main_weight: float) -> None:
    case = recorded("simm", "small_L2")
    width = case.info["config"]["comm_feature_nums"]
    coefficients = {
        "ML_loss": main_weight,
        "GAN_loss": 0.3,
        "comm_ML_loss": 0.9,
        "orthogonal_regularization": 0.2,
    }
    options = {
        "view_dims": case.info["config"]["view_dims"][:views],
        "regularization_type": kind,
        "loss_coefficient": coefficients,
    }
    # a predictor of fewer vectors, and a discriminator of fewer views
    weights = {
        "fc_predictor.weight": case.weights["fc_predictor.weight"][:, : (views + 1) * width],
        "discriminator.weight": case.weights["discriminator.weight"][:views],
        "discriminator.bias": case.weights["discriminator.bias"][:views],
    }
    case = case.changed(options, weights=weights)
    for table in (case.io, case.weights):
        for name in [n for n in table if views == 2 and ("_2" in n or "blocks.2" in n)]:
            del table[name]

    wanted = {"grad.fc_comm_extract.weight": "fc_comm_extract.weight"}
    leaves = {name: case.weights[name].requires_grad_() for name in wanted.values()}
    expected = simm_by_hand(case, views)
    computed = torch.autograd.grad(expected["loss.total"], list(leaves.values()))
    expected |= dict(zip(wanted, computed, strict=True))
    for name in leaves:
        case.weights[name] = case.weights[name].detach()
    changed = case.changed(io={name: x.detach() for name, x in expected.items()})
    found = compare(changed)
    for name in expected:
        assert difference(found, name) < 1e-9


# --- DFG


@pytest.mark.parametrize("dims", [[5, 3], [4, 3, 5, 2]])
def test_the_fusion_graph_of_other_numbers_of_modalities(dims: list[int]) -> None:
    """Every set of modalities is a vertex that reads its parts; the summary reads all."""
    generator = torch.Generator().manual_seed(3)
    count, size, hidden = len(dims), 6, 7
    numbers = dfg.joint_vertices([str(k) for k in range(count)])
    parts = {
        name: [p for p in [*map(str, range(count)), *numbers]
               if set(p.split("_")) < set(name.split("_"))]
        for name in numbers
    }  # fmt: skip
    parts["t"] = [*map(str, range(count)), *numbers]
    widths = {str(k): dim for k, dim in enumerate(dims)} | dict.fromkeys(numbers, size)
    edges = sum(len(p) for p in parts.values())
    shapes = {"efficacy_model.0": (8, sum(dims)), "efficacy_model.1.0": (9, 8),
              "efficacy_model.2": (edges, 9)}  # fmt: skip
    for name, sources in parts.items():
        module = "t_network" if name == "t" else f"networks.{name}"
        shapes[f"{module}.0"] = (hidden, sum(widths[p] for p in sources))
        shapes[f"{module}.1.0"] = (size, hidden)
    weights: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        weights[f"{name}.weight"] = torch.randn(shape, generator=generator) / shape[1] ** 0.5
        weights[f"{name}.bias"] = torch.randn(shape[0], generator=generator)
    inputs = [torch.randn(2, dim, generator=generator) for dim in dims]

    def layer(name: str, x: Tensor) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    efficacies = torch.cat(inputs, 1)
    for name in ("efficacy_model.0", "efficacy_model.1.0", "efficacy_model.2"):
        efficacies = layer(name, efficacies)
    vertices = {str(k): x for k, x in enumerate(inputs)}
    place = 0
    for name, sources in parts.items():
        read = []
        for source in sources:
            read.append(efficacies[:, place : place + 1] * vertices[source])
            place += 1
        module = "t_network" if name == "t" else f"networks.{name}"
        vertices[name] = layer(f"{module}.1.0", layer(f"{module}.0", torch.cat(read, 1)))

    io = {f"in.modality_{k}": x for k, x in enumerate(inputs)}
    io |= {f"out.node_{name}": vertices[name] for name in numbers}
    io |= {"out.t": vertices["t"], "out.efficacies": efficacies}
    io |= {"aux.R": torch.ones(2, size), "aux.R_eff": torch.ones(2, edges)}
    config = {"kind": "dfg", "in_dimensions": dims, "out_dimension": size,
              "pattern_hidden": hidden, "efficacy_hidden": 8, "efficacy_out": 9}  # fmt: skip
    case = Case(Path("synthetic"), {"system": "dfg", "config": config}, io, weights)
    found = compare(case)
    assert found.failures == [], found.summary()
    assert len(found.rows) == len(numbers) + 2
    assert max(row[1] for row in found.rows) < 1e-9


# --- ML-GCN, HHMPN


def test_ml_gcn_of_an_odd_width() -> None:
    """Fewer channels leave the label graph as it is, and drop columns of the classifiers."""
    case = recorded("ml_gcn", "t04")
    width = case.info["config"]["feature_dim"] - 1
    io = {
        "feature_map": case.io["feature_map"][:, :width],
        "classifiers": case.io["classifiers"][:, :width],
        "pooled": case.io["pooled"][:, :width],
    }
    io["logits"] = io["pooled"] @ io["classifiers"].T
    io["loss"] = F.binary_cross_entropy_with_logits(io["logits"], case.io["y"])
    io["predictions"] = (io["logits"] >= 0).double()
    weights = {"gc2.weight": case.weights["gc2.weight"][:, :width]}
    found = compare(case.changed({"feature_dim": width}, io, weights))
    failed = {row[0].split(" ")[0] for row in found.failures}
    assert all(name.startswith("grad.") for name in failed)
    assert {"logits", "loss", "predictions", "A"} <= {row[0] for row in found.rows} - failed


def test_hhmpn_of_one_decoder_head_has_no_merge() -> None:
    """With one head the program has no map that merges heads."""
    case = recorded("hhmpn", "full_ones").changed({"dec_heads": 1})
    for name in [n for n in case.weights if ".enc_attn.fc." in n]:
        del case.weights[name]
    found = compare(case)
    failed = {row[0] for row in found.failures}
    assert not any(name.startswith("enc/") for name in failed)  # the encoder is the same
    assert "logits" in failed


# --- LDDU


def test_lddu_weighs_its_losses_as_the_case_says() -> None:
    """The total is that of the recorded terms, weighted anew; a weight of 0 is one, too."""
    case = recorded("lddu", "padded_other_weights")
    for cml, final, cdl, crl in ((0.7, 1.3, 0.4, 2.5), (0.3, 1.0, 1.0, 0.3), (0.0, 0.5, 0.0, 4.0)):
        weights = {"cml": cml, "final_loss": final, "cdl": cdl, "crl": crl}
        names = {"cml": "bce_common", "final_loss": "bce_output", "cdl": "contrastive"}
        names["crl"] = "calibration"
        terms = [weight * case.io[f"loss/{names[name]}"] for name, weight in weights.items()]
        total = torch.stack(terms).sum()
        found = compare(case.changed({"loss_weights": weights}, {"loss/total": total}))
        failed = {row[0] for row in found.failures}
        assert all(name.startswith("grad/") for name in failed)
        assert bool(failed) == (weights != case.info["config"]["loss_weights"])


def contrast_by_pairs(features: Tensor, owners: list[float], temperature: float) -> Tensor:
    """The loss row by row, with the row's maximum subtracted, as the program's notes have it."""
    scores = features @ features.T / 2 / temperature
    total = torch.zeros(())
    for i, own in enumerate(owners):
        shifted = scores[i] - scores[i].max()
        others = [k for k in range(len(owners)) if k != i]
        same = [k for k in others if owners[k] == own]
        if same:
            bottom = (shifted[others].exp().sum() + 1e-12).log()
            total += (bottom - shifted[same].mean()) / len(owners)
    return total


@pytest.mark.parametrize(
    ("temperature", "size", "pointer"),
    [
        (0.07, 151, 101),
        (0.02, 151, 0),
        (1.5, 97, 60),
        (0.11, 123, 51),  # ends exactly at the end
        (0.11, 72, 0),  # all of it, once
        (0.3, 40, 13),  # more rows than it holds: the later ones overwrite
    ],
)
def test_lddu_at_other_temperatures_and_queues(temperature: float, size: int, pointer: int) -> None:
    """72 new rows; the others of the recorded queue."""
    case = recorded("lddu", "padded_other_weights")
    weights = {
        "queue": case.weights["queue"][:size],
        "queue_label": case.weights["queue_label"][:size],
        "queue_ptr": torch.tensor([pointer]),
    }
    model, _ = lddu.build(case)
    _, _, given = lddu.train(model, tailor.read_batch(case.io))
    rows, classes, *_ = given
    features = torch.cat([rows, weights["queue"]])
    owners = torch.cat([classes.double(), weights["queue_label"][:, 0]])
    terms = {f"loss/{name}": case.io[f"loss/{name}"] for name in ("bce_common", "calibration")}
    terms["loss/bce_output"] = case.io["loss/bce_output"]
    terms["loss/contrastive"] = contrast_by_pairs(features, owners.tolist(), temperature)

    after = {name: x.clone() for name, x in weights.items()}
    for i, row in enumerate(rows):  # one after the other
        place = (pointer + i) % size
        after["queue"][place] = row
        after["queue_label"][place] = classes[i]
    after["queue_ptr"] = torch.tensor([(pointer + len(rows)) % size])

    io = {**terms, "contrast/features": features, "contrast/class_id": owners}
    io |= {f"after/{name}": x for name, x in after.items()}
    options = {"temperature": temperature, "queue": size, "ptr": pointer}
    found = compare(case.changed(options, io, weights))
    failed = {row[0] for row in found.failures}
    assert failed.isdisjoint(io)
    assert difference(found, "loss/contrastive") < 1e-9
    # what depends on the other pairs
    about_pairs = {"loss/total", "contrast/mean_similarity", "contrast/positive_mask_rowsum"}
    assert all(name in about_pairs or name.startswith(("grad/", "contrast/")) for name in failed)


# --- options that we do not have


@pytest.mark.parametrize(
    ("system", "name", "option", "value"),
    [
        ("carat", "ones_shipped_weights", "activation", "relu"),
        ("carat", "ones_shipped_weights", "queue", 100),
        ("carat", "ones_shipped_weights", "threshold_rule", "greater or equal"),
        ("dfg", "variable_lengths", "kind", "mfn"),
        ("dfg", "variable_lengths", "train_mode", "ranking"),
        ("hhmpn", "full_ones", "activation", "gelu"),
        ("hhmpn", "full_ones", "layer_norm_eps", 1e-6),
        ("lddu", "padded_other_weights", "label_dim", 24),
        ("lddu", "padded_other_weights", "latent_widths", [22, 16, 11, 11, 11]),
        ("lddu", "padded_other_weights", "mask_fill", "additive -10000 everywhere"),
        ("lddu", "padded_other_weights", "slot_order", ["text", "visual", "audio"]),
        ("lddu", "metrics", "arguments", "called with (truth, prediction)"),
        ("ml_gcn", "t04", "epsilon", 1e-3),
        ("mult", "variable_lengths_nomask", "aonly", False),
        ("mult", "variable_lengths_nomask", "num_heads", 5),
        ("raven", "one_frame_per_word", "lastState", False),
        ("sgm", "ge_tau1_gru", "attention", "dot"),
        ("sgm", "ge_tau1_gru", "bidirectional", False),
        ("sgm", "ge_tau1_gru", "mask", False),
        ("sgm", "ge_tau1_gru", "enc_num_layers", 2),
        ("simm", "small_L2", "regularization_type", "L3"),
        ("simm", "small_L2", "view_dims", [12]),
        ("simm", "small_L2", "view_dims", [12, 20, 9, 4]),
        ("tailor", "aligned_default_depth", "activation", "relu"),
        ("tailor", "aligned_default_depth", "mask_fill", "minus infinity"),
        ("tailor", "ctc_module", "blank", 3),
    ],
)
def test_an_option_that_we_do_not_have_is_named(
    system: str, name: str, option: str, value: object
) -> None:
    case = recorded(system, name)
    with pytest.raises(CaseError) as caught:
        compare(case.changed({option: value}))
    message = str(caught.value)
    shown = {"num_heads": "heads", "enc_num_layers": "encoder layers"}.get(option, option)
    assert shown in message
    assert str(value).strip("[]") in message
    assert name in message


def test_an_unknown_option_is_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = recorded("simm", "small_L2")
    info = {**case.info, "config": {**case.info["config"], "gizmo": 3}}
    info["config"]["loss_coefficient"] = {**info["config"]["loss_coefficient"], "extra": 0.5}
    (tmp_path / "case.json").write_text(json.dumps(info))
    save_file({n: x.contiguous() for n, x in case.io.items()}, tmp_path / "io.safetensors")
    save_file(dict(case.weights), tmp_path / "weights.safetensors")
    assert main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "gizmo = 3" in printed
    assert "loss_coefficient.extra = 0.5" in printed


def test_a_missing_option_and_a_missing_tensor_are_named() -> None:
    case = recorded("simm", "small_L2")
    del case.info["config"]["label_num"]
    with pytest.raises(CaseError, match="label_num"):
        compare(case)

    case = recorded("simm", "small_L2")
    del case.io["view_1"]
    with pytest.raises(CaseError, match="view_1"):
        compare(case)


def test_weights_that_do_not_fit_the_options_are_one_message() -> None:
    case = recorded("simm", "small_L2").changed({"label_num": 5})
    with pytest.raises(CaseError, match="weights and options disagree"):
        compare(case)
