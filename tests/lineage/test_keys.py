from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from throughline.lineage import envelope, keys
from throughline.lineage.keys import Algorithm, KeyFileError

if TYPE_CHECKING:
    from pathlib import Path

each_algorithm = pytest.mark.parametrize("algorithm", Algorithm)


@each_algorithm
def test_a_key_signs_and_its_public_key_verifies(tmp_path: Path, algorithm: Algorithm) -> None:
    public, key_id = keys.generate(tmp_path / "a.key", algorithm)
    signed = envelope.sign(b"payload", [keys.load_signer(tmp_path / "a.key")])
    assert envelope.verify(signed, [keys.load_public(public)]).key_ids == (key_id,)


@each_algorithm
def test_openssl_reads_our_keys(tmp_path: Path, algorithm: Algorithm) -> None:
    public, _ = keys.generate(tmp_path / "a.key", algorithm)
    printed = subprocess.run(["openssl", "pkey", "-in", tmp_path / "a.key", "-pubout"], check=True, capture_output=True)
    assert printed.stdout == public.read_bytes()


@pytest.mark.parametrize(
    "parameters",
    [("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"), ("-algorithm", "ED25519")],
    ids=["ecdsa", "ed25519"],
)
def test_keys_of_openssl_are_taken(tmp_path: Path, parameters: tuple[str, ...]) -> None:
    private = tmp_path / "a.key"
    private.touch(0o600)
    subprocess.run(["openssl", "genpkey", *parameters, "-out", private], check=True, capture_output=True)
    assert envelope.sign(b"payload", [keys.load_signer(private)])


def test_a_private_key_is_its_owners_alone(tmp_path: Path) -> None:
    keys.generate(tmp_path / "a.key", Algorithm.ED25519)
    assert (tmp_path / "a.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o644, 0o620, 0o660])
def test_a_private_key_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    keys.generate(tmp_path / "a.key", Algorithm.ED25519)
    (tmp_path / "a.key").chmod(mode)
    with pytest.raises(KeyFileError, match=rf"mode {mode:04o}\); run chmod 600"):
        keys.load_signer(tmp_path / "a.key")


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
def test_a_group_may_read_as_a_mounted_secret_needs(tmp_path: Path, mode: int) -> None:
    """Through the link that the kubelet makes, too."""
    keys.generate(tmp_path / "real.key", Algorithm.ED25519)
    (tmp_path / "real.key").chmod(mode)
    (tmp_path / "tls.key").symlink_to("real.key")
    assert keys.load_signer(tmp_path / "tls.key")


def test_a_link_does_not_hide_the_mode_of_the_key(tmp_path: Path) -> None:
    keys.generate(tmp_path / "real.key", Algorithm.ED25519)
    (tmp_path / "real.key").chmod(0o644)
    (tmp_path / "tls.key").symlink_to("real.key")
    with pytest.raises(KeyFileError, match="others may use"):
        keys.load_signer(tmp_path / "tls.key")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    public, _ = keys.generate(tmp_path / "a.key", Algorithm.ED25519)
    before = (tmp_path / "a.key").read_bytes(), public.read_bytes()
    with pytest.raises(KeyFileError, match="not overwritten"):
        keys.generate(tmp_path / "a.key", Algorithm.ED25519)
    public.unlink()
    with pytest.raises(KeyFileError, match="not overwritten"):
        keys.generate(tmp_path / "a.key", Algorithm.ED25519)
    assert (tmp_path / "a.key").read_bytes() == before[0]
    assert not public.exists()
    with pytest.raises(KeyFileError, match="name the private one otherwise"):
        keys.generate(tmp_path / "b.pub", Algorithm.ED25519)
    with pytest.raises(KeyFileError, match="No such file"):
        keys.generate(tmp_path / "nowhere" / "a.key", Algorithm.ED25519)


@each_algorithm
def test_an_encrypted_key_needs_its_passphrase(tmp_path: Path, algorithm: Algorithm) -> None:
    keys.generate(tmp_path / "a.key", algorithm, b"secret")
    assert b"ENCRYPTED" in (tmp_path / "a.key").read_bytes()
    assert keys.load_signer(tmp_path / "a.key", b"secret")
    with pytest.raises(KeyFileError, match="passphrase was not given"):
        keys.load_signer(tmp_path / "a.key")
    with pytest.raises(KeyFileError, match="passphrase is another"):
        keys.load_signer(tmp_path / "a.key", b"guess")


def test_other_keys_are_refused(tmp_path: Path) -> None:
    private, public = tmp_path / "a.key", tmp_path / "a.pub"
    private.touch(0o600)
    for parameters in (
        ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
        ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"),
    ):
        subprocess.run(["openssl", "genpkey", *parameters, "-out", private], check=True, capture_output=True)
        subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], check=True, capture_output=True)
        with pytest.raises(KeyFileError, match="only ECDSA P-256 and Ed25519"):
            keys.load_signer(private)
        with pytest.raises(KeyFileError, match="only ECDSA P-256 and Ed25519"):
            keys.load_public(public)


def test_keys_are_not_mixed_up(tmp_path: Path) -> None:
    public, _ = keys.generate(tmp_path / "a.key", Algorithm.ED25519)
    with pytest.raises(KeyFileError, match="is a private key; give the public one"):
        keys.load_public(tmp_path / "a.key")
    public.chmod(0o600)
    with pytest.raises(KeyFileError, match="is no private key"):
        keys.load_signer(public)
    (tmp_path / "x").write_text("no key")
    with pytest.raises(KeyFileError, match="is no public key"):
        keys.load_public(tmp_path / "x")
    for load in (keys.load_public, keys.load_signer):
        with pytest.raises(KeyFileError, match="No such file"):
            load(tmp_path / "nowhere")
