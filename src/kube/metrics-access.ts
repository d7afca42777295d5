import { createHash } from 'node:crypto';
import type { Access } from '../telemetry/metrics-server.ts';
import { TokenBucket } from '../telemetry/token-bucket.ts';
import type { KubeClient } from './client.ts';
import type { Clock } from './clock.ts';
import { ExpiringCache } from './expiring-cache.ts';
import type { Log } from './log.ts';

interface Reviewed {
  readonly status?: {
    readonly authenticated?: boolean;
    readonly user?: {
      readonly username?: string;
      readonly uid?: string;
      readonly groups?: readonly string[];
      readonly extra?: Readonly<Record<string, readonly string[]>>;
    };
  };
}

interface AccessReviewed {
  readonly status?: { readonly allowed?: boolean };
}

/** An answer is good for so long, ms: a scraper comes every few seconds. */
const goodForMs = 60_000;
const cached = 256;
/** Questions to the API server about callers at one address: at once, and a second after that. */
const burst = 5;
const perSecond = 0.5;
const addresses = 1024;

/**
 * Who may read metrics: users that may `get` the path /metrics (TokenReview, then SubjectAccessReview). What one address may
 * have the API server asked is limited; a scraper whose token is known needs no question.
 */
export function metricsAccess(client: Pick<KubeClient, 'create'>, clock: Pick<Clock, 'now'>, log: Log) {
  const answers = new ExpiringCache<Access>(cached, clock);
  const rates = new ExpiringCache<TokenBucket>(addresses, clock);
  return async (token: string, address: string): Promise<Access> => {
    const key = createHash('sha256').update(token).digest('base64');
    const known = answers.get(key);
    if (known !== undefined) return known;
    const now = clock.now();
    const rate = rates.get(address) ?? new TokenBucket(burst, perSecond, now);
    rates.set(address, rate, now + goodForMs);
    if (!rate.spend(now)) return 'Unknown';
    try {
      const access = await ask(client, token);
      answers.set(key, access, clock.now() + goodForMs);
      return access;
    } catch (error) {
      log.warn({ err: error, address }, 'the API server does not say whether a caller may read metrics');
      return 'Unknown';
    }
  };
}

async function ask(client: Pick<KubeClient, 'create'>, token: string): Promise<Access> {
  const review = await client.create<Reviewed>('/apis/authentication.k8s.io/v1/tokenreviews', {
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
