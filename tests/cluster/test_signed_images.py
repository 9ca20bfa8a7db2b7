"""The images that the cluster runs, signed and checked as a release would be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "dist/images"
pytestmark = pytest.mark.cluster


def attest(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the script as a release would."""
    command = [sys.executable, str(ROOT / "scripts/attest"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(
    "PYTHON_IMAGE" not in os.environ or not (BUILT / "agent.tar").exists(),
    reason="images were not built here",
)
def test_both_images_are_signed_with_what_they_came_from(tmp_path: Path) -> None:
    """Each is what was signed at this commit; the one is not the other."""
    key, private, public = generate_private_key(SECP256R1()), tmp_path / "key.pem", tmp_path / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    status = ["git", "-C", str(ROOT), "status", "--porcelain"]
    clean = subprocess.run(status, capture_output=True, text=True, check=False)
    if clean.returncode or clean.stdout:
        refused = attest("sign", "agent", BUILT / "agent.tar", private)
        assert refused.returncode == 2, "what no commit holds must not be signed"
        pytest.skip(f"only a commit is signed: {refused.stderr.strip()}")
    for target in ("operator", "agent"):
        signed = attest("sign", target, BUILT / f"{target}.tar", private)
        assert signed.returncode == 0, signed.stderr
        (tmp_path / target).write_text(signed.stdout)
        checked = attest("verify", BUILT / f"{target}.tar", tmp_path / target, public)
        assert checked.returncode == 0, checked.stderr
    other = attest("verify", BUILT / "operator.tar", tmp_path / "agent", public)
    assert other.returncode == 1
