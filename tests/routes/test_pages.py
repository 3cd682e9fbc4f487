from pathlib import Path

import pytest
from rest import serving

from routes import pages


@pytest.fixture
def web_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "web"
    (folder / "parts").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html><title>Antiphon</title>")
    (folder / "parts" / "app.js").write_text("export {};")
    (folder / "style.css").write_text("body { margin: 0 }")
    (folder / "mark.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (folder / "notes.py").write_text("secret = 1")
    (tmp_path / "secret.js").write_text("secret")
    monkeypatch.setattr(pages, "FOLDER", folder)
    return folder


@pytest.mark.usefixtures("web_folder")
@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html"),
        ("/web/index.html", "text/html"),
        ("/web/parts/app.js", "text/javascript"),
        ("/web/style.css", "text/css"),
        ("/web/mark.svg", "image/svg+xml"),
    ],
)
async def test_files_have_their_types_and_strict_headers(path: str, content_type: str) -> None:
    async with serving() as client:
        response = await client.get(path)
    assert (response.status, response.content_type) == (200, content_type)
    policy = response.headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"} <= set(policy)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert "microphone=(self)" in response.headers["Permissions-Policy"]
    assert response.headers["Cache-Control"] == "no-cache"


@pytest.mark.usefixtures("web_folder")
async def test_an_unchanged_file_is_not_sent_again() -> None:
    async with serving() as client:
        first = await client.get("/")
        again = await client.get("/", headers={"If-None-Match": first.headers["ETag"]})
        weak = await client.get("/", headers={"If-None-Match": f"W/{first.headers['ETag']}"})
        other = await client.get("/", headers={"If-None-Match": '"other"'})
        assert (await again.read(), again.headers["ETag"]) == (b"", first.headers["ETag"])
    assert [first.status, again.status, weak.status, other.status] == [200, 304, 304, 200]


@pytest.mark.usefixtures("web_folder")
@pytest.mark.parametrize(
    "path",
    ["/web/notes.py", "/web/../secret.js", "/web/%2e%2e/secret.js", "/web/..%2fsecret.js", "/web/"],
)
async def test_nothing_else_is_served(path: str) -> None:
    from yarl import URL

    async with serving() as client:
        response = await client.get(URL(path, encoded=True))
        assert response.status == 404
        assert "secret" not in (await response.text()).replace("secret.js", "")
