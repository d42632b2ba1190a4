"""Training on batches that are mined with the network as it is."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from every_loss import NAMES, B, D, build, labels_of, make_network, make_pixels
from processes import started
from torch import Tensor, nn

from builders import Listening, recipe_of, recipe_values, run_recipe, write_pictures
from pertinent.data.datasets import DATASETS
from pertinent.data.samplers import HardNegativesSampler
from pertinent.engine.building import make_encoder
from pertinent.engine.checkpoint import load_state
from pertinent.engine.distributed import World
from pertinent.engine.events import read_events, silent
from pertinent.engine.extract import Extraction
from pertinent.engine.memory import Memory
from pertinent.engine.mining import Mining
from pertinent.engine.optim import set_training_mode
from pertinent.engine.run import Run
from pertinent.engine.steps import Objective, gradients
from pertinent.errors import ConfigError, ImageError, InputError, TrainingError
from pertinent.losses import APLoss, ContrastiveLoss, TripletLoss
from pertinent.models.encoder import Encoder

# Twelve batches of two tuples; the network is asked anew after every fifth.
SAMPLER = {"name": "hard_negatives", "batch_size": 8, "negatives": 2, "queries": 24, "pool": 15, "refresh": 5}
LOSSES = {"triplet": {"margin": 0.5, "reduction": "sum"}}
# Nothing random in the network, and every picture by itself.
SEPARATE = ["train.batch_norm=freeze", "model.backbone_options={}"]


def write(path: Path, root: Path) -> Path:
    """A recipe that mines."""
    path.write_text(yaml.safe_dump(recipe_values(root) | {"sampler": SAMPLER, "losses": LOSSES}))
    return path


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    return write(tmp_path_factory.mktemp("mining") / "mining.yaml", pictures)


def run(file: Path, folder: Path, *words: str, resume: bool = False) -> tuple[Run, Listening]:
    events = Listening()
    return run_recipe(file, folder, *words, resume=resume, listener=events), events


def losses(events: Any) -> list[float]:
    return [event["parts"]["loss"] for event in events if event["event"] == "step"]


def same_state(one: Any, other: Any, where: str = "") -> None:
    """Equal to the bit; only the clock may differ."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one.keys() - {"seconds"}:
            same_state(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for place, pair in enumerate(zip(one, other, strict=True)):
            same_state(*pair, f"{where}[{place}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


def same_run(one: Run, other: Run) -> None:
    same_state(load_state(one.checkpoints()[-1]), load_state(other.checkpoints()[-1]))
    for name in ("before", "best", "last"):
        assert Encoder.load(one.encoder(name)).fingerprint() == Encoder.load(other.encoder(name)).fingerprint()


# --- embedding what the sampler asks for


@pytest.fixture
def mining(recipe_file: Path) -> Mining:
    recipe = recipe_of(recipe_file)
    torch.manual_seed(0)
    encoder = make_encoder(recipe)
    set_training_mode(encoder, recipe.train, 0)
    table = DATASETS.build("folder", root=recipe.data.root).split("train")
    sampler = HardNegativesSampler(table.labels, 8, 2, 24, pool=15, refresh=5)
    return Mining(sampler, Extraction(encoder, 4), table, World(), damaged=set(), listener=Listening())


def test_the_batches_are_those_of_the_embeddings_as_they_are_measured(mining: Mining):
    encoder, table, sampler = mining.extraction.encoder, mining.table, mining.sampler
    vectors = encoder.embed([table.read(row) for row in range(len(table))], batch_size=24).numpy()
    expected = HardNegativesSampler(table.labels, 8, 2, 24, pool=15, refresh=5)
    for step, done in {0: 5, 4: 5, 5: 10, 10: 12, 11: 12}.items():
        if len(expected.mined) < done:
            expected.mine(lambda rows: vectors[rows])
        mining.renew(step)
        np.testing.assert_array_equal(sampler.mined, expected.mined)


def test_it_leaves_training_as_it_is(mining: Mining):
    encoder = mining.extraction.encoder
    before = copy.deepcopy(encoder.state_dict())
    modes, state = [part.training for part in encoder.modules()], torch.get_rng_state()
    mining.renew(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert [part.training for part in encoder.modules()] == modes
    assert any(modes)
    same_state(dict(encoder.state_dict()), dict(before))
    assert all(p.grad is None and p.requires_grad for p in encoder.parameters())


def test_what_it_tells(mining: Mining):
    mining.renew(0)
    *embedding, told = mining.listener
    assert {event["event"] for event in embedding} == {"embed"}
    assert {event["stage"] for event in embedding} == {"mining"}
    assert [event["done"] for event in embedding] == [4, 8, 12, 16, *range(20, told["pictures"], 4), told["pictures"]]
    assert all(event["total"] == told["pictures"] and event["rate"] > 0 for event in embedding)
    assert (told["event"], told["epoch"], told["step"]) == ("mine", 1, 0)
    assert told["seconds"] > 0


def test_embeddings_that_are_not_finite(mining: Mining):
    for parameter in mining.extraction.encoder.parameters():
        parameter.data.fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"became nan or infinite before epoch 1, step 1; lower optim\.lr"):
        mining.renew(0)


def test_pairs_are_found_again_when_pictures_are_missing(mining: Mining):
    sampler = mining.sampler
    sampler.mined = np.array([[5, 6, 7, 8, 9, 5, 7, 8]])
    assert [part.tolist() for part in mining.tuples(0, torch.tensor([5, 6, 7, 8, 9, 5, 7, 8]))] == [
        [0, 4],
        [1, 5],
        [0, 0, 4, 4],
        [2, 3, 6, 7],
    ]
    # Picture 7 is damaged, so it is missing in both tuples.
    assert [part.tolist() for part in mining.tuples(0, torch.tensor([5, 6, 8, 9, 5, 8]))] == [
        [0, 3],
        [1, 4],
        [0, 3],
        [2, 5],
    ]
    # Picture 5: one tuple lacks its query, the other its positive.
    assert [part.tolist() for part in mining.tuples(0, torch.tensor([6, 7, 8, 9, 7, 8]))] == [[], [], [3, 3], [4, 5]]


# --- the loss


def tuples_of(sampler: HardNegativesSampler) -> Any:
    return tuple(torch.from_numpy(part) for part in sampler.indices_tuple())


SIXTEEN = HardNegativesSampler(np.arange(24) // 2, B, 2)


def by_tuples(embeddings: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Sums over tuples of (query, positive, two negatives): of triplets, and of pairs."""
    triplets, pairs = embeddings.new_zeros(()), embeddings.new_zeros(())
    for query, near, *far in embeddings.reshape(B // 4, 4, D):
        pairs = pairs + (query - near).square().sum() / 2
        for other in far:
            triplets = triplets + ((query - near).norm() - (query - other).norm() + margin).clamp(min=0)
            pairs = pairs + (margin - (query - other).norm()).clamp(min=0).square() / 2
    return triplets, pairs


@pytest.mark.parametrize("chunk", [None, 3])
def test_tuple_losses_see_the_mined_pairs_and_the_others_the_labels(chunk: int | None):
    labels = torch.arange(B) % 4
    modules = {
        "triplet": TripletLoss(margin=0.5, reduction="sum"),
        "contrastive": ContrastiveLoss(margin=0.9, reduction="sum"),
        "ap": APLoss(),
    }
    network, other = make_network(), make_network()
    objective = Objective(nn.ModuleDict(modules), dict.fromkeys(modules, 1.0), mined=True)
    parts = gradients(network, network, make_pixels(), labels, objective, tuples=tuples_of(SIXTEEN), chunk=chunk)
    embeddings = other(make_pixels())
    terms = [by_tuples(embeddings, 0.5)[0], by_tuples(embeddings, 0.9)[1], APLoss()(embeddings, labels)]
    sum(terms).backward()
    for key, term in zip(modules, terms, strict=True):
        torch.testing.assert_close(parts[key], term.detach(), rtol=1e-6, atol=1e-6)
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        # Losses add 1e-6 to every difference of a pair.
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_says_whether_it_takes_pairs(name: str):
    """One that does not say so is given labels; PMLLoss does not know what the loss inside it takes."""
    loss, embeddings = build(name), make_network()(make_pixels()).float().detach()
    if getattr(loss, "takes_tuples", False):
        assert loss(embeddings, labels_of(name), tuples_of(SIXTEEN)).isfinite()
    elif name != "pml":
        with pytest.raises(InputError, match="indices_tuple"):
            loss(embeddings, labels_of(name), tuples_of(SIXTEEN))


def test_batches_that_are_not_mined_give_no_pairs():
    labels, network = torch.arange(B) % 4, make_network()
    objective = Objective(nn.ModuleDict({"triplet": TripletLoss()}), {"triplet": 1.0})
    parts = gradients(network, network, make_pixels(), labels, objective)
    torch.testing.assert_close(parts["triplet"], TripletLoss()(make_network()(make_pixels()), labels).detach())


def test_a_memory_is_for_the_losses_that_see_labels():
    memory = Memory(8, D, torch.zeros(1, dtype=torch.int64))
    only = nn.ModuleDict({"triplet": TripletLoss()})
    assert Objective(only, {"triplet": 1.0}, memory).memory is memory
    with pytest.raises(ConfigError, match=r"memory\.size: none of the losses \(triplet\) compares with other items"):
        Objective(only, {"triplet": 1.0}, memory, mined=True)
    both = nn.ModuleDict({"triplet": TripletLoss(reduction="sum"), "ap": APLoss()})
    objective = Objective(both.double(), {"triplet": 1.0, "ap": 1.0}, memory, mined=True)
    labels, found = torch.arange(B) % 4, []
    for seed in range(2):
        network = make_network()
        found.append(gradients(network, network, make_pixels(seed), labels, objective, tuples=tuples_of(SIXTEEN)))
    embeddings = [make_network()(make_pixels(seed)).detach() for seed in range(2)]
    torch.testing.assert_close(found[1]["triplet"], by_tuples(embeddings[1], 1.0)[0], rtol=1e-6, atol=1e-6)
    past = embeddings[0][-8:].float().double()
    expected = APLoss()(embeddings[1], labels, None, torch.cat([embeddings[1], past]), torch.cat([labels, labels[-8:]]))
    torch.testing.assert_close(found[1]["ap"], expected, rtol=1e-5, atol=1e-6)


# --- whole runs


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory, recipe_file: Path) -> Run:
    return run_recipe(recipe_file, tmp_path_factory.mktemp("mined") / "run")


def test_the_network_is_asked_at_every_refresh(whole_run: Run):
    events = [event for event in read_events(whole_run.log_path) if event["event"] in ("mine", "step")]
    order = "".join("m" if event["event"] == "mine" else "." for event in events)
    assert order == "m.....m.....m.." * 2
    assert [(event["epoch"], event["step"]) for event in events if event["event"] == "mine"] == [
        (epoch, step) for epoch in (1, 2) for step in (0, 5, 10)
    ]
    assert load_state(whole_run.checkpoints()[-1])["mined"].shape == (0, 8), "that of an epoch that is over is not kept"


def test_triplets_among_the_hardest(recipe_file: Path, tmp_path: Path):
    words = ["sampler.negatives=1", "sampler.batch_size=6", "sampler.hardest=25"]
    found, events = run(recipe_file, tmp_path / "run", *words)
    assert len(events.of("mine")) == 6
    same_run(run_recipe(recipe_file, tmp_path / "again", *words), found)


def test_without_refresh_it_is_asked_once_an_epoch(recipe_file: Path, tmp_path: Path):
    _, events = run(recipe_file, tmp_path / "run", "sampler.refresh=null")
    assert [(event["epoch"], event["step"]) for event in events.of("mine")] == [(1, 0), (2, 0)]
    assert len(events.of("step")) == 24


@pytest.mark.parametrize(("epoch", "step"), [(1, 3), (1, 5), (2, 1), (2, 10), (2, 11), (2, 12)])
def test_stopped_in_mid_epoch_it_goes_on_with_the_same_batches(
    tmp_path: Path, recipe_file: Path, whole_run: Run, epoch: int, step: int
):
    def act(event: dict[str, Any]) -> None:
        if event["event"] == "step" and (event["epoch"], event["step"]) == (epoch, step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe_file, tmp_path / "run", listener=Listening(act))
    kept = load_state(Run(tmp_path / "run").checkpoints()[-1])["mined"]
    assert len(kept) == min(-(-step // 5) * 5, 12)
    found, events = run(recipe_file, tmp_path / "run", resume=True)
    mined = [(event["epoch"], event["step"]) for event in events.of("mine")]
    assert mined == [(e, s) for e in (1, 2) for s in (0, 5, 10) if (e, s) >= (epoch, step)]
    same_run(found, whole_run)


def test_stopped_while_it_mines(tmp_path: Path, recipe_file: Path, whole_run: Run):
    def act(event: dict[str, Any]) -> None:
        if event.get("stage") == "mining" and heard.of("step")[-1:] and heard.of("step")[-1]["step"] == 10:
            raise KeyboardInterrupt

    heard = Listening(act)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe_file, tmp_path / "run", listener=heard)
    assert heard[-1] == {"event": "interrupted", "epoch": 0, "step": 10}
    same_run(run_recipe(recipe_file, tmp_path / "run", resume=True), whole_run)


def test_several_batches_a_step_end_where_new_ones_are_mined(tmp_path: Path, recipe_file: Path):
    _, events = run(recipe_file, tmp_path / "run", "train.accumulate=2", "train.epochs=1")
    assert [event["step"] for event in events.of("step")] == [2, 4, 5, 7, 9, 10, 12]


def test_two_passes_change_nothing(tmp_path: Path, recipe_file: Path):
    first, second = (
        run(recipe_file, tmp_path / f"{chunk}", *SEPARATE, f"train.chunk={chunk}", "train.epochs=1")[1]
        for chunk in ("null", 3)
    )
    assert losses(second) == pytest.approx(losses(first), rel=1e-3)


def test_worker_processes_change_nothing(tmp_path: Path, recipe_file: Path, whole_run: Run):
    same_run(run_recipe(recipe_file, tmp_path / "run", "data.workers=1"), whole_run)


@pytest.mark.parametrize(
    "words",
    [
        ["losses={triplet: null, hap: {}}"],
        ["losses={triplet: null, hap: {weight: 0.5}, contrastive: {margin: 0.8}, cluster: {}}", "memory.size=20"],
        ["train.precision=bf16", "train.channels_last=true", "train.ema=0.9", "data.val=val"],
    ],
    ids=["labels", "both", "manners"],
)
def test_it_trains_with_every_kind_of_loss(tmp_path: Path, recipe_file: Path, words: list[str]):
    found, _ = run(recipe_file, tmp_path / "run", *words, "train.epochs=1")
    assert Encoder.load(found.encoder("last")).fingerprint() != Encoder.load(found.encoder("before")).fingerprint()


def test_it_learns(tmp_path: Path, recipe_file: Path):
    _, events = run(recipe_file, tmp_path / "run", "train.epochs=6", "optim.lr=0.003")
    values = losses(events)
    assert np.mean(values[-24:]) < 0.8 * np.mean(values[:24])


def test_a_rate_that_explodes(tmp_path: Path, recipe_file: Path):
    with pytest.raises(TrainingError, match=r"became nan .*lower optim\.lr"):
        run_recipe(recipe_file, tmp_path / "run", "sampler.refresh=1", "optim.name=sgd", "optim.lr=1e38")


# --- damaged pictures


@pytest.fixture
def damaged_file(tmp_path: Path) -> Path:
    root = write_pictures(tmp_path / "pictures", splits=("train", "test"))
    path = root / "train/warm/red/1.png"
    path.write_bytes(path.read_bytes()[:300])
    return write(tmp_path / "r.yaml", root)


def test_a_damaged_picture_stops_training(tmp_path: Path, damaged_file: Path):
    with pytest.raises(ImageError, match=r"red/1\.png: truncated or damaged .*data\.on_error=skip"):
        run_recipe(damaged_file, tmp_path / "run")


def test_damaged_pictures_are_left_out_and_listed_when_asked(tmp_path: Path, damaged_file: Path):
    _, events = run(damaged_file, tmp_path / "run", "data.on_error=skip")
    assert len(events.of("step")) == 24
    assert all(np.isfinite(losses(events)))
    (listed,) = events.of("end")[0]["damaged"]
    assert "train/warm/red/1.png: truncated or damaged" in listed


def test_a_picture_seen_in_mining_alone_is_listed_as_well(mining: Mining, damaged_file: Path):
    table = DATASETS.build("folder", root=recipe_of(damaged_file).data.root).split("train")
    extraction = Extraction(mining.extraction.encoder, 4, skip_damaged=True)
    noted: set[str] = set()
    sampler = HardNegativesSampler(table.labels, 4, 2, queries=1, pool=24)
    Mining(sampler, extraction, table, World(), damaged=noted, listener=silent).renew(0)
    assert len(noted) == 1
    row = next(row for row in range(len(table)) if table.source.where(row).endswith("red/1.png"))
    assert row not in sampler.mined


# --- two processes


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, recipe_file: Path) -> Path:
    """Folder with the runs of two processes over Gloo."""
    folder = tmp_path_factory.mktemp("two")
    with started(2, "mining_worker.py", recipe_file, folder, *SEPARATE) as wait:
        wait()
    return folder


def test_two_processes_train_on_the_batches_of_one(two: Path, recipe_file: Path, tmp_path: Path):
    one = run_recipe(recipe_file, tmp_path / "one", *SEPARATE)
    events = read_events(Run(two / "whole").log_path)
    assert events[0]["processes"] == 2
    assert losses(events) == pytest.approx(losses(read_events(one.log_path)), rel=1e-3)
    assert [event["event"] for event in events] == [event["event"] for event in read_events(one.log_path)]


def test_two_processes_ended_in_mid_epoch_go_on_with_the_same_batches(two: Path):
    resumed, whole = Run(two / "resumed"), Run(two / "whole")
    assert [event["step"] for event in read_events(resumed.log_path) if event["event"] == "resume"] == [5]
    same_run(resumed, whole)
