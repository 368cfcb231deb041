"""README.md, docs/ and README.Debian name files, targets, pages and programs that exist."""

from __future__ import annotations

import re

import pytest

from manual import FOREIGN, MAN, ROOT

DOCUMENTS = [
    str(path.relative_to(ROOT)) for pattern in ("README.md", "docs/*", "debian/*README*") for path in ROOT.glob(pattern)
]
FOLDERS = "build-aux|debian|docs|etc|man|src|tests"


def text_of(document: str) -> str:
    return (ROOT / document).read_text()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_of_the_tree_exist(document: str) -> None:
    for path in re.findall(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./*{{}},-]*)", text_of(document)):
        path = path.rstrip(".,")
        if "{" in path:
            folder, names = path.rstrip("/").removesuffix("}").split("{")
            assert all((ROOT / folder / name).exists() for name in names.split(",")), path
        else:
            assert list(ROOT.glob(path)), path


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text_of(document)):
        assert (ROOT / document).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_targets_of_make_exist(document: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", text_of("Makefile"), re.M))
    assert targets >= set(re.findall(r"(?:`|^ +)make ([a-z][\w-]*)", text_of(document), re.M))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_pages_of_the_manual_exist(document: str) -> None:
    for name, section in re.findall(r"\b([a-z][\w-]*)\(([1-8])\)", text_of(document)):
        assert (MAN / f"{name}.{section}").exists() or f"{name}({section})" in FOREIGN, f"{name}({section})"


def test_the_readme_names_all_that_it_is_looked_at_for() -> None:
    text = text_of("README.md")
    assert re.search(r"make deb\b", text) and "`docs/services.md`" in text and "`upstart-jobs(7)`" in text
    assert {"README.md", "docs/services.md"} < set(DOCUMENTS) and any("README.Debian" in name for name in DOCUMENTS)


def test_the_counts_and_notes_of_the_services_are_those_of_their_tables() -> None:
    sections = [one for one in re.split(r"^## ", text_of("docs/services.md"), flags=re.M) if "\n| package |" in one]
    assert len(sections) >= 2
    for section in sections:
        count = re.search(r"^(\d+) of (\d+) packages take every step", section, re.M)
        assert count
        # The five steps; a question before them may have a bar of its own.
        rows = [line.strip("|").split("|")[-5:] for line in section.splitlines() if line.startswith("| ")][2:]
        whole = [row for row in rows if {step.strip() for step in row} == {"yes"}]
        assert (len(whole), len(rows)) == (int(count[1]), int(count[2]))
        assert set(re.findall(r"no \((\d+)\)", section)) == set(re.findall(r"^(\d+)\. ", section, re.M))
