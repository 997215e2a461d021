"""`--page`: one page for a browser, of four small files; no other site is asked for anything.

It calls the routes that everybody calls, and so has their limits; it needs no package. (Gradio, the
usual choice, has upload routes of its own that know neither these limits nor the process in which
files are decoded, loads fonts of another site, and at 6.31 wants a Pillow older than the one that
the rest was tested with.)
"""

from pathlib import Path

from fastapi import APIRouter, Request, Response

from speechllm.serve.guard import PAGE

router = APIRouter()
HOME = Path(__file__).parent / "assets"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
# what a browser lets the page do, should a text in it ever be taken for markup
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src blob: data:; media-src blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


async def show(request: Request) -> Response:
    """Give a file of the page."""
    path = HOME / PAGE[request.url.path]
    headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
    headers["Referrer-Policy"] = "no-referrer"
    media = f"{KINDS[path.suffix]}; charset=utf-8"
    return Response(path.read_bytes(), media_type=media, headers=headers)


for _path in PAGE:
    router.add_api_route(_path, show, methods=["GET"])
