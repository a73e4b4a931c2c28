"""Texts: counts, encoding, rows, vocabularies, and what is said when files are bad."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from arsg_optax.demos import hub, text
from arsg_optax.demos.byte_text import load_wikitext2_bytes
from arsg_optax.demos.errors import DataError
from arsg_optax.demos.text import (
    batchify,
    encode,
    load_ptb,
    load_wikitext2,
    save_vocabulary,
)
from tests.demos.parquets import write_lines

LINES = {
    "train": [" \n", " = A title = \n", " \n", " a word , a <unk> word \n"],
    "validation": [" a new word \n"],
    "test": ["", " Senjō \n"],
}
# What `encode` makes of them.
VOCABULARY = ("<eos>", "=", "A", "title", "a", "word", ",", "<unk>", "new", "Senjō")
NUMBERS = {
    "train": [0, 1, 2, 3, 1, 0, 0, 4, 5, 6, 4, 7, 5, 0],
    "validation": [4, 8, 5, 0],
    "test": [0, 9, 0],
}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A directory as the Hub lays it out, of very few lines."""
    directory = tmp_path / "wikitext-2"
    directory.mkdir()
    for split, lines in LINES.items():
        write_lines(directory / f"{split}-00000-of-00001.parquet", lines)
    return tmp_path


def assert_is_the_text(loaded: text.TextSet) -> None:
    assert loaded.vocabulary == VOCABULARY
    assert {type(word) for word in loaded.vocabulary} == {str}
    for split, numbers in NUMBERS.items():
        tokens = getattr(loaded, split)
        assert tokens.dtype == np.int32
        np.testing.assert_array_equal(tokens, numbers)


def test_every_line_ends_with_a_token():
    assert_is_the_text(encode(LINES))


@pytest.mark.usefixtures("own_cache")
def test_wikitext2_is_decoded_once(data_dir: Path, monkeypatch):
    assert_is_the_text(load_wikitext2(data_dir))

    def encode_again(lines):
        raise AssertionError("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr(text, "encode", encode_again)
        assert_is_the_text(load_wikitext2(data_dir))
        patch.setenv("ARSG_DATA_DIR", str(data_dir))
        assert_is_the_text(load_wikitext2())
    # Other files are another text.
    file = data_dir / "wikitext-2" / "test-00000-of-00001.parquet"
    write_lines(file, ["a longer test with one more line", "than before"])
    assert load_wikitext2(data_dir).test.size == 7 + 1 + 2 + 1


@pytest.mark.usefixtures("own_cache")
def test_bad_file_is_named(data_dir: Path):
    file = data_dir / "wikitext-2" / "validation-00000-of-00001.parquet"
    write_lines(file, ["a word"], column="sentence")
    reason = f"{re.escape(str(file))} has no column 'text', only sentence"
    with pytest.raises(DataError, match=reason) as caught:
        load_wikitext2(data_dir)
    assert_names_both_ways(str(caught.value))
    file.unlink()
    with pytest.raises(DataError, match=r"no file validation\*\.parquet in"):
        load_wikitext2(data_dir)


@pytest.mark.usefixtures("own_cache")
def test_one_set_of_the_repository_is_downloaded(data_dir: Path, monkeypatch):
    """The other sets are a hundred times as large; their files begin alike."""
    (data_dir / "wikitext-2").rename(data_dir / "wikitext-2-v1")
    asked = []

    def download(repository: str, **options):
        asked.append((repository, options["allow_patterns"]))
        return str(data_dir)

    monkeypatch.delenv("ARSG_DATA_DIR", raising=False)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert_is_the_text(load_wikitext2())
    assert asked == [("Salesforce/wikitext", "wikitext-2-v1/*.parquet")]


def assert_names_both_ways(message: str) -> None:
    for part in (
        "'wikitext-2'",
        "'Salesforce/wikitext'",
        "--data-dir",
        "ARSG_DATA_DIR",
    ):
        assert part in message


def _wikitext2_here() -> bool:
    root = os.environ.get(hub.DATA_DIR_VARIABLE)
    return bool(root) and any((Path(root) / "wikitext-2").glob("*.parquet"))


@pytest.mark.skipif(
    not _wikitext2_here(),
    reason="needs wikitext-2/*.parquet in the directory ARSG_DATA_DIR",
)
def test_wikitext2_is_complete():
    loaded = load_wikitext2()
    sizes = [part.size for part in loaded[:3]]
    assert sizes == [2_088_628, 217_646, 245_569]
    assert len(loaded.vocabulary) == len(set(loaded.vocabulary)) == 33_278
    used = np.bincount(np.concatenate(loaded[:3]), minlength=33_278)
    assert used.size == 33_278 and used.min() > 0
    start = " ".join(loaded.vocabulary[token] for token in loaded.train[:12])
    assert start == (
        "<eos> = Valkyria Chronicles III = <eos> <eos> Senjō no Valkyria 3"
    )
    as_bytes = load_wikitext2_bytes()
    assert [part.size for part in as_bytes[:2]] == [10_797_148, 1_121_681]


@pytest.fixture(scope="module")
def ptb(tmp_path_factory) -> Path:
    """Files with as many tokens and words as Penn Treebank's, which is not free."""
    root = tmp_path_factory.mktemp("data")
    (root / "ptb").mkdir()
    words = [f"w{number}" for number in range(9_999)]
    for file, tokens in (("train", 929_589), ("valid", 73_760), ("test", 82_430)):
        # Lines of nine words and the end's token, then one that fills up.
        count = tokens - tokens // 10
        filled = (words * (count // len(words) + 1))[: tokens // 10 * 9]
        lines = [filled[start : start + 9] for start in range(0, len(filled), 9)]
        if tokens % 10:
            lines.append(["w0"] * (tokens % 10 - 1))
        content = "".join(f" {' '.join(line)} \n" for line in lines)
        (root / "ptb" / f"ptb.{file}.txt").write_text(content)
    return root


def test_ptb(ptb: Path, monkeypatch):
    loaded = load_ptb(ptb)
    assert [part.size for part in loaded[:3]] == [929_589, 73_760, 82_430]
    assert len(loaded.vocabulary) == 10_000
    assert [loaded.vocabulary[token] for token in loaded.train[8:11]] == [
        "w8",
        "<eos>",
        "w9",
    ]
    monkeypatch.setenv("ARSG_DATA_DIR", str(ptb))
    np.testing.assert_array_equal(load_ptb().test, loaded.test)


@pytest.mark.parametrize(
    "content, reason",
    [
        (None, "FileNotFoundError"),
        (b"", "ptb.valid.txt has 0 tokens instead of 73,760"),
        (b" half a text \n", "ptb.valid.txt has 4 tokens instead of 73,760"),
        (b"\xff\xfe", "UnicodeDecodeError"),
    ],
)
def test_bad_ptb_file_is_named(content, reason, ptb: Path, tmp_path: Path):
    (tmp_path / "ptb").mkdir()
    for file in ("ptb.train.txt", "ptb.test.txt"):
        (tmp_path / "ptb" / file).symlink_to(ptb / "ptb" / file)
    bad = tmp_path / "ptb" / "ptb.valid.txt"
    if content is not None:
        bad.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        load_ptb(tmp_path)
    for part in (str(bad), "--data-dir", "ARSG_DATA_DIR", "ptb.test.txt", "'ptb'"):
        assert part in str(caught.value)


def test_ptb_of_other_words_is_refused(ptb: Path, tmp_path: Path):
    (tmp_path / "ptb").mkdir()
    for file in (ptb / "ptb").iterdir():
        content = file.read_text().replace(" w7 ", " w6 ")
        (tmp_path / "ptb" / file.name).write_text(content)
    with pytest.raises(DataError, match="have 9,999 words instead of 10,000"):
        load_ptb(tmp_path)


def test_ptb_without_a_directory(monkeypatch):
    monkeypatch.delenv("ARSG_DATA_DIR", raising=False)
    with pytest.raises(DataError, match="no directory of data sets is given"):
        load_ptb()


def test_rows_are_contiguous_text():
    rows = batchify(np.arange(11, dtype=np.int32), 3)
    assert rows.dtype == np.int32
    np.testing.assert_array_equal(rows, [[0, 1, 2], [3, 4, 5], [6, 7, 8]])


@pytest.mark.parametrize("batch_size", [0, 12])
def test_batch_size_is_checked(batch_size: int):
    with pytest.raises(ValueError, match=f"batch_size .*11 tokens, got {batch_size}"):
        batchify(np.arange(11), batch_size)


def test_vocabulary_comes_back(tmp_path: Path):
    path = tmp_path / "vocabulary.txt"
    path.write_text("what was there before\n")
    save_vocabulary(path, VOCABULARY)
    assert tuple(path.read_text("utf-8").split()) == VOCABULARY
    assert path.read_bytes().startswith(b"<eos>\n=\n")
    assert list(tmp_path.iterdir()) == [path]
