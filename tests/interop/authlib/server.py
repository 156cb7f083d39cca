"""An authorization server made of Authlib, and an API that takes its tokens.

The first argument is a JSON list of clients. One line with the URL comes out when it listens. It ends when its
standard input does.
"""

import json
import os
import signal
import sys
import threading
import time

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "true"  # on loopback

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector, current_token
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants
from authlib.oauth2.rfc6750 import BearerTokenValidator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion, JWTBearerGrant
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from flask import Flask, jsonify
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from werkzeug.serving import WSGIRequestHandler, make_server

LIFETIME = 3
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
GRANTS = ["client_credentials", "password", "refresh_token", JWT_BEARER]
METHODS = ["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"]
KEYS = {"EC": ECKey, "OKP": OKPKey, "RSA": RSAKey}


class Client(ClientMixin):
    def __init__(self, client_id, method, secret=None, jwk=None):
        self.client_id, self.method, self.secret = client_id, method, secret
        if jwk:
            self.key = KEYS[jwk["kty"]].import_key(jwk)
        elif secret:
            self.key = OctKey.import_key(secret)

    def get_client_id(self):
        return self.client_id

    def get_allowed_scope(self, scope):
        return scope or "users:read"

    def check_client_secret(self, secret):
        return secret == self.secret

    def check_endpoint_auth_method(self, method, endpoint):
        return method == self.method

    def check_grant_type(self, grant_type):
        return grant_type in GRANTS


class Token(TokenMixin):
    def __init__(self, client, user, token):
        self.client, self.user, self.fields = client, user, token
        self.ends = time.time() + token["expires_in"]
        self.revoked = self.spent = False

    def check_client(self, client):
        return client is self.client

    def get_scope(self):
        return self.fields["scope"]

    def is_expired(self):
        return time.time() >= self.ends

    def is_revoked(self):
        return self.revoked


clients = {client["client_id"]: Client(**client) for client in json.loads(sys.argv[1])}
tokens, used, log = [], set(), []
app = Flask(__name__)
app.config.update(
    OAUTH2_REFRESH_TOKEN_GENERATOR=True,
    OAUTH2_TOKEN_EXPIRES_IN={grant: LIFETIME for grant in GRANTS + ["refresh_token"]},
)


def find(name, value):
    return next((token for token in tokens if token.fields.get(name) == value), None)


server = AuthorizationServer(
    app,
    query_client=clients.get,
    save_token=lambda token, request: tokens.append(Token(request.client, request.user, token)),
)


class ClientCredentials(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS


class Password(grants.ResourceOwnerPasswordCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS

    def authenticate_user(self, username, password):
        return username if password == "open sesame" else None


class RefreshToken(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token):
        token = find("refresh_token", refresh_token)
        return token if token and not token.revoked and not token.spent else None

    def authenticate_user(self, refresh_token):
        return refresh_token.user

    def revoke_old_credential(self, refresh_token):
        refresh_token.spent = True


def is_new(claims, jti):
    key = (claims["iss"], jti)
    return key not in used and not used.add(key)


class JwtBearer(JWTBearerGrant):
    def resolve_issuer_client(self, issuer):
        return clients.get(issuer)

    def resolve_client_public_key(self, client):
        return client.key

    def authenticate_user(self, subject):
        return subject

    def get_audiences(self):
        return [issuer]

    def has_granted_permission(self, client, user):
        return True


class ClientAssertion(JWTBearerClientAssertion):
    def __init__(self, method):
        super().__init__()
        self.CLIENT_AUTH_METHOD = method

    def __call__(self, query_client, request):
        # Registered for two methods; the client has one of them.
        client_id = request.form.get("client_id")
        if client_id in clients and clients[client_id].method == self.CLIENT_AUTH_METHOD:
            return super().__call__(query_client, request)

    def get_audiences(self):
        return [issuer]

    def validate_jti(self, claims, jti):
        return is_new(claims, jti)

    def resolve_client_public_key(self, client):
        return client.key


class Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS = METHODS

    def query_token(self, value, hint):
        return find("access_token", value) or find("refresh_token", value)

    def revoke_token(self, token, request):
        token.revoked = True


class Validator(BearerTokenValidator):
    def authenticate_token(self, value):
        return find("access_token", value)


for grant in [ClientCredentials, Password, RefreshToken, JwtBearer]:
    server.register_grant(grant)
for method in ["client_secret_jwt", "private_key_jwt"]:
    server.register_client_auth_method(method, ClientAssertion(method))
server.register_endpoint(Revocation)
protected = ResourceProtector()
protected.register_token_validator(Validator())


@app.get("/.well-known/oauth-authorization-server")
def metadata():
    document = AuthorizationServerMetadata(
        issuer=issuer,
        authorization_endpoint=f"{issuer}/authorize",
        token_endpoint=f"{issuer}/token",
        revocation_endpoint=f"{issuer}/revoke",
        grant_types_supported=GRANTS,
        response_types_supported=["code"],
        token_endpoint_auth_methods_supported=METHODS,
        token_endpoint_auth_signing_alg_values_supported=["ES256", "RS256", "EdDSA", "HS256"],
    )
    document.validate()
    return jsonify(document)


@app.post("/token")
def token():
    response = server.create_token_response()
    log.append({"status": response.status_code, **{"error": json.loads(response.data).get("error")}})
    return response


@app.post("/revoke")
def revoke():
    return server.create_endpoint_response("revocation")


@app.get("/api")
@protected()
def api():
    return jsonify(client_id=current_token.client.client_id, user=current_token.user, scope=current_token.get_scope())


@app.get("/log")
def answers():
    return jsonify(log)


class Quiet(WSGIRequestHandler):
    def log_request(self, *_):
        pass


def end_with_input():
    sys.stdin.read()
    os._exit(0)


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
threading.Thread(target=end_with_input, daemon=True).start()
listening = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
issuer = f"http://127.0.0.1:{listening.port}"
print(json.dumps({"issuer": issuer}), flush=True)
listening.serve_forever()
