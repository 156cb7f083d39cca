// An authorization server made of oidc-provider, and an API that takes its tokens.
//
// The first argument is JSON: `clients`, and what to ask of DPoP proofs. One line with the URLs comes out when
// all of it listens. It ends when its standard input does.

import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { EmbeddedJWK, calculateJwkThumbprint, createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify } from 'jose';
import { Provider, errors } from 'oidc-provider';

const settings = JSON.parse(process.argv[1]);
process.stdin.resume().on('end', () => process.exit()).on('error', () => process.exit());
process.on('SIGTERM', () => process.exit());

const LIFETIME = settings.shortLived ? 3 : 600;
const RESOURCES = {
  'https://users.example.com': { scope: 'users:read', accessTokenFormat: 'opaque' },
  'https://orders.example.com': { scope: 'orders:read', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } },
};

const listen = (handle) => new Promise((resolve) => {
  // A connection that the client thinks well of is not closed under its hands.
  const server = createServer({ keepAliveTimeout: 600_000 }, handle);
  server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${server.address().port}`));
});

const signingKeys = await Promise.all(['RS256', 'ES256'].map(async (alg) => {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...await exportJWK(privateKey), alg, use: 'sig', kid: alg };
}));
const publicKeys = createLocalJWKSet({ keys: signingKeys.map(({ d, p, q, dp, dq, qi, ...rest }) => rest) });

// What was asked of the authorization server, and of the API.
let log = [];
// All that it remembers is in here, so another one is a restart.
let provider;
let handle;

function start() {
  provider = new Provider(issuer, {
    clients: settings.clients,
    jwks: { keys: signingKeys },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    clockTolerance: 0,
    scopes: ['openid'],
    clientAuthMethods: [
      'client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt', 'none', 'tls_client_auth',
    ],
    ttl: { AccessToken: LIFETIME, ClientCredentials: LIFETIME, RefreshToken: 3600, Grant: 3600, Session: 3600 },
    // One that comes twice ends the session: that is what this server does by itself.
    rotateRefreshToken: true,
    issueRefreshToken: async () => true,
    expiresWithSession: async () => false,
    loadExistingGrant: everythingIsGranted,
    findAccount: async (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }),
    interactions: { url: (_, interaction) => `/log-in/${interaction.uid}` },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      revocation: { enabled: true },
      dPoP: {
        enabled: settings.dpop,
        nonceSecret: settings.serverNonces ? randomBytes(32) : undefined,
        requireNonce: () => settings.serverNonces,
      },
      mTLS: {
        enabled: true,
        tlsClientAuth: true,
        getCertificate: (ctx) => ctx.req.certificateOf && 'certificate',
        certificateAuthorized: () => true,
        certificateSubjectMatches: (ctx, _, expected) => ctx.req.certificateOf === expected,
      },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => {
          if (!RESOURCES[resource]) throw new errors.InvalidTarget();
          return { audience: resource, accessTokenTTL: LIFETIME, ...RESOURCES[resource] };
        },
      },
    },
    discovery: { mtls_endpoint_aliases: { token_endpoint: `${proxy}/token` } },
  });
  provider.use(async (ctx, next) => {
    await next();
    const { params } = ctx.oidc ?? {};
    if (!params) return;
    log.push({
      route: ctx.oidc.route,
      status: ctx.status,
      error: ctx.body?.error ?? null,
      refresh_token: params.refresh_token ?? null,
    });
  });
  handle = provider.callback();
}

async function everythingIsGranted(ctx) {
  const { client, session, params } = ctx.oidc;
  const grant = new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
  grant.addOIDCScope(params.scope);
  await grant.save();
  return grant;
}

// Whoever is sent here is logged in, and agrees.
async function authorizationServer(request, response) {
  if (request.url.startsWith('/log-in/')) {
    await provider.interactionFinished(request, response, { login: { accountId: 'somebody' }, consent: {} });
  } else {
    await handle(request, response);
  }
}

// Stands for a proxy that ends TLS: it says whose certificate it has seen.
async function tlsProxy(request, response) {
  request.certificateOf = 'CN=exporter';
  await handle(request, response);
}

let nonce = randomUUID();
const proofs = new Set();

async function resourceServer(request, response) {
  const { pathname } = new URL(request.url, api);
  const answer = (status, body, headers = {}) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
  };
  if (pathname === '/log') return answer(200, log);
  if (pathname === '/restart') return answer(200, start() ?? {});
  try {
    const token = await checked(request, pathname);
    // The next proof needs another nonce, which this response brings.
    if (token.jkt && settings.apiNonces) nonce = randomUUID();
    log.push({ route: 'api', status: 200, error: null });
    return answer(200, token, nonceHeader());
  } catch (error) {
    if (!(error instanceof Refusal)) console.error(error);
    log.push({ route: 'api', status: 401, error: error.code ?? 'invalid_token' });
    const challenge = `${error.scheme ?? 'Bearer'} error="${error.code ?? 'invalid_token'}"`;
    return answer(401, { error: error.message }, { 'www-authenticate': challenge, ...nonceHeader() });
  }
}

const nonceHeader = () => (settings.apiNonces ? { 'dpop-nonce': nonce } : {});

class Refusal extends Error {
  constructor(message, scheme = 'Bearer', code = 'invalid_token') {
    super(message);
    Object.assign(this, { scheme, code });
  }
}

async function checked(request, path) {
  const [scheme, secret] = (request.headers.authorization ?? '').split(' ');
  if (!secret) throw new Refusal('no token');
  const token = await known(secret);
  if (!token) throw new Refusal('not a token, or not any more', scheme);
  const audience = { '/users': 'https://users.example.com', '/orders': 'https://orders.example.com' }[path];
  if (token.aud !== audience) throw new Refusal('for somebody else', scheme);
  if (!token.jkt && scheme === 'Bearer') return token;
  if (!token.jkt || scheme !== 'DPoP') throw new Refusal('not in this way', scheme);
  await checkProof(request, path, secret, token.jkt);
  return token;
}

async function known(secret) {
  if (secret.split('.').length === 3) {
    const verified = await jwtVerify(secret, publicKeys, { issuer }).catch(() => null);
    const { aud, scope, client_id, cnf } = verified?.payload ?? {};
    return verified && { aud, scope, client_id, jkt: cnf?.jkt };
  }
  const token = await provider.AccessToken.find(secret) ?? await provider.ClientCredentials.find(secret);
  return token && { aud: token.aud, scope: token.scope, client_id: token.clientId, jkt: token.jkt };
}

async function checkProof(request, path, secret, jkt) {
  const refuse = (message) => { throw new Refusal(message, 'DPoP', 'invalid_dpop_proof'); };
  const verified = await jwtVerify(request.headers.dpop ?? '', EmbeddedJWK, { typ: 'dpop+jwt', maxTokenAge: '1 minute' })
    .catch((error) => refuse(error.message));
  const { payload, protectedHeader } = verified;
  if (await calculateJwkThumbprint(protectedHeader.jwk) !== jkt) refuse('another key');
  if (payload.htm !== request.method) refuse('another method');
  if (payload.htu !== api + path) refuse('another URI');
  if (payload.ath !== createHash('sha256').update(secret).digest('base64url')) refuse('another token');
  if (proofs.has(payload.jti)) refuse('a proof that has been here');
  proofs.add(payload.jti);
  if (settings.apiNonces && payload.nonce !== nonce) throw new Refusal('the nonce', 'DPoP', 'use_dpop_nonce');
}

const issuer = await listen(authorizationServer);
const proxy = await listen(tlsProxy);
const api = await listen(resourceServer);
start();
console.log(JSON.stringify({ issuer, api }));
