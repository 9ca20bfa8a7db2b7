"""Signed images: what is signed is checked against every byte; whatever was altered is told."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import runpy
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/attest"
ATTEST = runpy.run_path(str(SCRIPT))
SOURCES = [{"name": "sources", "digest": {"gitCommit": "c" * 40}}]
SBOM = {"spdxVersion": "SPDX-2.3"}
Tree = dict[str, Any]


def archive(place: Path, layers: tuple[bytes, ...] = (b"base", b"ours"), env: str = "A=1") -> Path:
    """Write a docker archive of an image with such layers."""
    settings: Tree = {"created": "1970-01-02T00:00:00Z", "config": {"Env": [env]}}
    settings["rootfs"] = {"diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]}
    return packed(place, json.dumps(settings).encode(), layers)


def packed(place: Path, settings: bytes, layers: tuple[bytes, ...]) -> Path:
    """Write the settings and layers as they are, whether or not they agree."""
    names = [f"{n}.tar" for n in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": ["localhost/qts-operator:dev"], "Layers": names}]
    files = dict(zip(names, layers, strict=True)) | {"config.json": settings}
    with tarfile.open(place, "w") as made:
        for name, data in (files | {"manifest.json": json.dumps(manifest).encode()}).items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            made.addfile(member, io.BytesIO(data))
    return place


class Signed:
    """An image, its signed statements and the public key, as files."""

    def __init__(self, place: Path) -> None:
        self.place, self.key = place, generate_private_key(SECP256R1())
        self.archive, self.public = archive(place / "image.tar"), self.keep("public.pem", self.key)
        self.file = place / "image.intoto.jsonl"
        told = ATTEST["statements"](ATTEST["held"](self.archive), "operator", SOURCES, SBOM)
        self.file.write_text(ATTEST["enveloped"](told, self.key))

    def keep(self, name: str, key: EllipticCurvePrivateKey) -> Path:
        """Write a public key."""
        path = self.place / name
        path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return path

    def verify(self) -> subprocess.CompletedProcess[str]:
        """Run the check as a user does."""
        return attest("verify", str(self.archive), str(self.file), str(self.public))


def attest(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    """An image that was signed."""
    return Signed(tmp_path)


def test_what_was_signed_is_accepted(signed: Signed) -> None:
    """With the commit that it came from; the signature is that of the envelope's definition."""
    done = signed.verify()
    assert done.returncode == 0, done.stderr
    assert "c" * 40 in done.stdout
    for line in signed.file.read_text().splitlines():
        envelope = json.loads(line)
        payload, (signature,) = base64.b64decode(envelope["payload"]), envelope["signatures"]
        kind = b"application/vnd.in-toto+json"
        text = b" ".join([b"DSSEv1", b"%d" % len(kind), kind, b"%d" % len(payload), payload])
        assert json.loads(payload)["subject"][0]["digest"]["sha256"] == ATTEST["held"](signed.archive).id
        signed.key.public_key().verify(base64.b64decode(signature["sig"]), text, ECDSA(SHA256()))


def altered_layer(signed: Signed) -> str:
    with tarfile.open(signed.archive) as files:
        settings = files.extractfile("config.json")
        assert settings is not None
        packed(signed.archive, settings.read(), (b"base", b"ourS"))
    return "1.tar"


def altered_settings(signed: Signed) -> str:
    archive(signed.archive, env="A=2")
    return "what was signed"


def another_key(signed: Signed) -> str:
    signed.keep("public.pem", generate_private_key(SECP256R1()))
    return "not signed by"


def altered_statement(signed: Signed) -> str:
    first, *rest = signed.file.read_text().splitlines()
    envelope = json.loads(first)
    envelope["payload"] = json.loads(rest[0])["payload"]
    signed.file.write_text("\n".join([json.dumps(envelope), *rest]))
    return "not signed by"


def no_provenance(signed: Signed) -> str:
    signed.file.write_text(signed.file.read_text().splitlines()[1])
    return "slsa.dev/provenance"


@pytest.mark.parametrize(
    "alter", [altered_layer, altered_settings, another_key, altered_statement, no_provenance]
)
def test_what_was_altered_is_told(signed: Signed, alter: Callable[[Signed], str]) -> None:
    """Exit code 1 and what is not as it was."""
    word = alter(signed)
    done = signed.verify()
    assert done.returncode == 1
    assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("broken", ["archive", "file", "public"])
@pytest.mark.parametrize("content", [None, b"", b'{"payload": 1}'])
def test_a_file_that_is_none_is_refused(signed: Signed, broken: str, content: bytes | None) -> None:
    """Exit code 2, named; a list of no statements vouches for nothing."""
    path: Path = getattr(signed, broken)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    done = signed.verify()
    assert done.returncode == (1 if (broken, content) == ("file", b"") else 2)
    assert path.name in done.stderr or broken == "file"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [(), ("sign",), ("verify", "a"), ("sign", "market", "a.tar", "k.pem")])
def test_a_wrong_call_is_refused(words: tuple[str, ...]) -> None:
    """Exit code 2 and what would be right."""
    done = attest(*words)
    assert done.returncode == 2
    assert "TARGET" in done.stderr


def test_a_key_of_another_kind_is_refused(signed: Signed) -> None:
    """A private key where the public one belongs, and how to make one."""
    private = signed.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    signed.public.write_bytes(private)
    done = signed.verify()
    assert done.returncode == 2
    assert "public.pem holds no public key" in done.stderr


def test_what_readme_has_beside_the_sources_is_no_change_of_theirs() -> None:
    """Key and output lie in the checkout when it is asked whether a commit holds everything."""
    call = re.search(
        r"`uv run python scripts/attest sign \w+ (\S+) (\S+) > (\S+)`", (ROOT / "README.md").read_text()
    )
    assert call is not None
    command = ["git", "-C", str(ROOT), "check-ignore", *call.groups()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 128:
        pytest.skip(f"no checkout: {done.stderr}")
    assert done.stdout.split() == list(call.groups())
