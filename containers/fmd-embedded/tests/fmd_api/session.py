"""A phone and its owner at the server whose URL is the only argument.

The phone registers and uploads locations; the owner, who is fmd-api, logs in,
reads them and sends a command; the phone takes the command. Exits with 0 when
all of it worked, and with a traceback when it didn't.
"""

import asyncio
import base64
import json
import os
import sys
import urllib.request

from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fmd_api import FmdClient

NAME = "alice"
PASSWORD = "correct horse battery staple"
LOCATIONS = [
    {"bat": 80, "lat": 52.5 + n, "lon": 13.4, "date": 1700000000000 + n, "provider": "gps", "time": "x"}
    for n in range(3)
]


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def argon2(context: str, salt: bytes) -> bytes:
    """The app's password hash: a context string keeps its two uses apart."""
    return hash_secret_raw(
        (context + PASSWORD).encode(), salt,
        time_cost=1, memory_cost=131072, parallelism=4, hash_len=32, type=Type.ID,
    )


class Phone:
    """What the app does, over plain HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=3072)

    def call(self, method: str, endpoint: str, **body: object) -> bytes:
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/v1/{endpoint}", data, method=method)
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.read()

    def password_hash(self, salt: bytes) -> str:
        digest = encode(argon2("context:loginAuthentication", salt))
        return f"$argon2id$v=19$m=131072,t=1,p=4${encode(salt)}${digest}"

    def register(self) -> None:
        salt, wrap_salt, iv = os.urandom(16), os.urandom(16), os.urandom(12)
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        wrapped = AESGCM(argon2("context:asymmetricKeyWrap", wrap_salt)).encrypt(iv, pem, None)
        public = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        hashed = self.password_hash(salt)
        self.call(
            "PUT", "device", RequestedUsername=NAME, HashedPassword=hashed,
            PubKey=encode(public), PrivKey=encode(wrap_salt + iv + wrapped),
        )
        token = self.call("PUT", "requestAccess", IDT=NAME, Data=hashed, SessionDurationSeconds=600)
        self.token = json.loads(token)["Data"]

    def upload(self, location: dict) -> None:
        session_key, iv = os.urandom(32), os.urandom(12)
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        packet = self.key.public_key().encrypt(session_key, oaep)
        sealed = AESGCM(session_key).encrypt(iv, json.dumps(location).encode(), None)
        self.call("POST", "location", IDT=self.token, Data=encode(packet + iv + sealed))

    def take_command(self) -> dict:
        return json.loads(self.call("PUT", "command", IDT=self.token, Data=""))

    def verify(self, command: dict) -> None:
        signed = f"{command['UnixTime']}:{command['Data']}".encode()
        pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
        signature = base64.b64decode(command["CmdSig"] + "==")
        self.key.public_key().verify(signature, signed, pss, hashes.SHA256())


async def main(url: str) -> None:
    phone = Phone(url)
    phone.register()
    for location in LOCATIONS:
        phone.upload(location)
    owner = await FmdClient.create(url, NAME, PASSWORD)
    try:
        blobs = await owner.get_locations()
        read = [json.loads(owner.decrypt_data_blob(blob)) for blob in blobs]
        assert read == LOCATIONS, read
        assert await owner.send_command("ring")
    finally:
        await owner.close()
    command = phone.take_command()
    assert command["Data"] == "ring", command
    phone.verify(command)
    assert phone.take_command()["Data"] == ""
    print(f"read {len(read)} locations, sent and took the command {command['Data']!r}")


asyncio.run(main(sys.argv[1]))
