"""The floor: what FastAPI, uvicorn and TLS cost when nothing is judged. Reads the uid, says yes.

Listens as the webhook does (uvloop, httptools, one worker, keep-alive, no access log), so that the two differ in what
they do with a review and in nothing else. `python -m bench.floor PORT CERTIFICATE KEY`.
"""

import sys
from http import HTTPStatus

import msgspec
import uvicorn
from fastapi import FastAPI, Request, Response


class Asked(msgspec.Struct):
    """As little as can be answered."""

    uid: str


class Review(msgspec.Struct):
    request: Asked


class Answer(msgspec.Struct):
    uid: str
    allowed: bool


class Answered(msgspec.Struct, rename="camel"):
    response: Answer
    api_version: str = "admission.k8s.io/v1"
    kind: str = "AdmissionReview"


app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
decode = msgspec.json.Decoder(Review).decode
encode = msgspec.json.Encoder().encode


@app.post("/validate")
async def validate(request: Request) -> Response:
    """Allow."""
    review = decode(await request.body())
    return Response(encode(Answered(Answer(review.request.uid, allowed=True))), media_type="application/json")


@app.get("/readyz")
async def readyz() -> Response:
    """As soon as anything is answered."""
    return Response(status_code=HTTPStatus.OK)


if __name__ == "__main__":
    port, certificate, key = sys.argv[1:]
    uvicorn.run(
        app, host="127.0.0.1", port=int(port), loop="uvloop", http="httptools", ws="none", lifespan="off",
        access_log=False, log_level="warning", server_header=False, date_header=False, timeout_keep_alive=120,
        backlog=4096, ssl_certfile=certificate, ssl_keyfile=key,
    )  # fmt: skip
