import { createHash } from 'node:crypto';
import { AddressRates } from '../limits/address-rates.ts';
import { TokenBucket } from '../limits/token-bucket.ts';
import type { Log } from '../telemetry/log.ts';
import type { Access } from '../telemetry/metrics-server.ts';
import type { KubeClient } from './client/client.ts';
import type { Clock } from './clock.ts';
import { ExpiringCache } from './expiring-cache.ts';
import type { TokenReview } from './objects.ts';

interface AccessReviewed {
  readonly status?: { readonly allowed?: boolean };
}

/** A right is believed for so long, and its absence, ms: a scraper comes every few seconds. */
const allowedForMs = 5 * 60_000;
const refusedForMs = 60_000;
const cached = 256;
/** Questions to the API server about callers at one address: at once, and a second after that. */
const ofAddress = { burst: 5, perSecond: 0.5 };
/** And about all who were never allowed: a tenant may ask the agents of every node at once. */
const ofStrangers = { burst: 5, perSecond: 1 / 30 };
/** An address from which somebody was allowed is no stranger's for so long, ms. */
const trustedForMs = 60 * 60_000;
const addresses = 1024;

/**
 * Who may read metrics: users that may `get` the path /metrics (TokenReview, then SubjectAccessReview). What one address may
 * have the API server asked is limited; a scraper whose token is known needs no question.
 */
export function metricsAccess(client: Pick<KubeClient, 'create'>, clock: Pick<Clock, 'now'>, log: Log) {
  const answers = new ExpiringCache<Access>(cached, clock);
  const rates = new AddressRates(ofAddress, () => clock.now(), addresses);
  const trusted = new ExpiringCache<true>(addresses, clock);
  const strangers = new TokenBucket(ofStrangers.burst, ofStrangers.perSecond, clock.now());
  return async (token: string, address: string): Promise<Access> => {
    const key = createHash('sha256').update(token).digest('base64');
    const known = answers.get(key);
    if (known !== undefined) return known;
    if (!rates.spend(address)) return 'Unknown';
    if (trusted.get(address) === undefined && !strangers.spend(clock.now())) return 'Unknown';
    try {
      const access = await ask(client, token);
      const isAllowed = access === 'Allowed';
      answers.set(key, access, clock.now() + (isAllowed ? allowedForMs : refusedForMs));
      if (isAllowed) trusted.set(address, true, clock.now() + trustedForMs);
      return access;
    } catch (error) {
      log.warn({ err: error, address }, 'the API server does not say whether a caller may read metrics');
      return 'Unknown';
    }
  };
}

async function ask(client: Pick<KubeClient, 'create'>, token: string): Promise<Access> {
  const review = await client.create<TokenReview>('/apis/authentication.k8s.io/v1/tokenreviews', {
    apiVersion: 'authentication.k8s.io/v1',
    kind: 'TokenReview',
    spec: { token },
  });
  const user = review.status?.user;
  if (review.status?.authenticated !== true || user?.username === undefined) return 'Unauthenticated';
  const access = await client.create<AccessReviewed>('/apis/authorization.k8s.io/v1/subjectaccessreviews', {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SubjectAccessReview',
    spec: {
      user: user.username,
      uid: user.uid ?? '',
      groups: user.groups ?? [],
      extra: user.extra ?? {},
      nonResourceAttributes: { path: '/metrics', verb: 'get' },
    },
  });
  return access.status?.allowed === true ? 'Allowed' : 'Forbidden';
}
