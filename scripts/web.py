"""Chat in a browser: serves a page on this machine, or writes it as a folder for any static host.

    python scripts/web.py                 # http://127.0.0.1:8000/, until Ctrl-C
    python scripts/web.py --out DIR       # the folder; models and runtime are in it

Reads models/bundle/*.litertlm and fetches LiteRT-LM for the web from npm, once. The page runs the
model in the browser and talks to no other host.
"""

import argparse
from pathlib import Path

from gemma_finetune.utils.cli import run
from gemma_finetune.utils.errors import UserError
from gemma_finetune.web.layout import PAGE, RUNTIME, find_bundles, lay_out
from gemma_finetune.web.npm import install
from gemma_finetune.web.server import address, open_server

SITE = Path(".web/site")


def main() -> None:
    args = parse_arguments()
    bundles = find_bundles(args.models)
    modules = install(PAGE, RUNTIME)
    out = args.out or SITE
    lay_out(out, modules, bundles)
    if args.out:
        print(f"{out}: put this folder on any static host; it may lie below any path")
        return
    with open_server(out, args.port) as server:
        print(f"{address(server)} serves the page; Ctrl-C ends it", flush=True)
        server.serve_forever()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write the page there and end")
    parser.add_argument("--port", type=int, default=8000, help="0: any free port (default 8000)")
    parser.add_argument("--models", type=Path, default=Path("models/bundle"), metavar="DIR")
    args = parser.parse_args()
    if not 0 <= args.port < 65536:
        raise UserError(f"--port {args.port}: a port is a number from 0 to 65535")
    return args


if __name__ == "__main__":
    run(main, arguments=None)
