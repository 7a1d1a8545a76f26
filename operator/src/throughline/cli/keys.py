"""`throughline keys generate FILE`: a key to sign statements with, and `throughline keys id FILE`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from throughline import exits
from throughline.cli import output
from throughline.lineage import keys

if TYPE_CHECKING:
    import argparse

PASSPHRASE_VARIABLE = "THROUGHLINE_KEY_PASSPHRASE"  # noqa: S105 - its name, not its value


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "keys",
        help="make a key to sign statements with; tell the id of one",
        description="Makes keys for `throughline sign` and `throughline verify`. No cluster is needed.",
    )
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    generate = actions.add_parser(
        "generate",
        help="make a new pair of keys",
        description="Writes a private key (PKCS #8, mode 0600) and beside it, with the suffix .pub, the public one. "
        f"The private key is encrypted if {PASSPHRASE_VARIABLE} is set. Nothing is overwritten.",
    )
    generate.add_argument("file", type=Path, metavar="FILE", help="the private key's file, such as signing.key")
    generate.add_argument(
        "--algorithm",
        choices=[a.value for a in keys.Algorithm],
        default=keys.Algorithm.ECDSA_P256.value,
        help="(default: %(default)s)",
    )
    output.add_output_flag(generate)
    generate.set_defaults(run=run_generate)
    identify = actions.add_parser(
        "id", help="print the id of a public key", description="Prints the id that signatures by this key bear."
    )
    identify.add_argument("file", type=Path, metavar="FILE", help="a public key")
    identify.set_defaults(run=run_id)


def run_generate(args: argparse.Namespace) -> int:
    """Make the pair."""
    try:
        public, key_id = keys.generate(args.file, keys.Algorithm(args.algorithm), passphrase())
    except keys.KeyFileError as error:
        print(f"error: {error}", file=sys.stderr)
        return exits.UNUSABLE
    encrypted = passphrase() is not None
    if args.output == "json":
        made = {"privateKey": str(args.file), "publicKey": str(public), "keyId": key_id, "encrypted": encrypted}
        print(output.structured(made, "json"))
    else:
        protection = "encrypted" if encrypted else f"not encrypted: set {PASSPHRASE_VARIABLE} to encrypt it"
        print(f"private key   {args.file} ({protection})\npublic key    {public}\nkey id        {key_id}")
    return exits.OK


def run_id(args: argparse.Namespace) -> int:
    """Print the id."""
    try:
        print(keys.load_public(args.file).keyid)
    except keys.KeyFileError as error:
        print(f"error: {error}", file=sys.stderr)
        return exits.UNUSABLE
    return exits.OK


def passphrase() -> bytes | None:
    """Of private keys; from the environment, where it is in no list of processes."""
    return os.environ[PASSPHRASE_VARIABLE].encode() if os.environ.get(PASSPHRASE_VARIABLE) else None
