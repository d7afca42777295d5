import { TulleError } from '../../errors/tulle-error.ts';

declare const trustDomainBrand: unique symbol;
declare const spiffeIdBrand: unique symbol;

/** A trust domain's name, such as `cluster.local`, known to be well-formed. */
export type TrustDomain = string & { readonly [trustDomainBrand]: true };
/** A SPIFFE ID, such as `spiffe://cluster.local/ns/shop/sa/cart`, known to be well-formed. */
export type SpiffeId = string & { readonly [spiffeIdBrand]: true };

/** SPIFFE-ID, section 2.3: 255 bytes of trust domain, 2,048 bytes in all. All allowed characters are one byte. */
const maximumTrustDomainLength = 255;
const maximumIdLength = 2048;
const scheme = 'spiffe://';

/**
 * Reads a trust domain's name (SPIFFE-ID, section 2.1).
 * @throws TulleError TrustDomainInvalid, saying what is wrong with it
 */
export function parseTrustDomain(text: string): TrustDomain {
  if (!isTrustDomain(text)) {
    throw new TulleError('TrustDomainInvalid', `${quote(text)} is not a trust domain: ${trustDomainFault(text)}.`);
  }
  return text;
}

/**
 * Reads a SPIFFE ID (SPIFFE-ID, section 2) in its one normal form: no upper-case scheme or trust domain, no percent-encoding, no
 * port, user, query or fragment, no empty or dot segment. Two IDs are the same identity if and only if their texts are equal.
 * @throws TulleError SpiffeIdInvalid, saying what is wrong with it
 */
export function parseSpiffeId(text: string): SpiffeId {
  if (!isSpiffeId(text)) {
    throw new TulleError('SpiffeIdInvalid', `${quote(text)} is not a SPIFFE ID: ${spiffeIdFault(text)}.`);
  }
  return text;
}

/** Who a workload is: `spiffe://<trustDomain>/ns/<namespace>/sa/<serviceAccount>`. */
export interface WorkloadIdentity {
  readonly trustDomain: TrustDomain;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/**
 * The SPIFFE ID of a workload.
 * @throws TulleError SpiffeIdInvalid for a namespace or service account that has no place in a SPIFFE ID
 */
export function workloadSpiffeId(identity: WorkloadIdentity): SpiffeId {
  const id = parseSpiffeId(`${scheme}${identity.trustDomain}/ns/${identity.namespace}/sa/${identity.serviceAccount}`);
  // A slash in a part would move its rest into the next one.
  parseWorkloadIdentity(id);
  return id;
}

/**
 * The workload a SPIFFE ID names.
 * @throws TulleError SpiffeIdInvalid for an ID that names something else
 */
export function parseWorkloadIdentity(id: SpiffeId): WorkloadIdentity {
  const { trustDomain, segments } = parts(id);
  const [ns, namespace, sa, serviceAccount, ...rest] = segments;
  if (ns !== 'ns' || sa !== 'sa' || namespace === undefined || serviceAccount === undefined || rest.length > 0) {
    throw new TulleError(
      'SpiffeIdInvalid',
      `${quote(id)} is not a workload: expected /ns/<namespace>/sa/<serviceAccount>.`,
    );
  }
  return { trustDomain: parseTrustDomain(trustDomain), namespace, serviceAccount };
}

/** The SPIFFE ID of a trust domain itself, which its signing certificates carry (X509-SVID, section 2). */
export function trustDomainSpiffeId(trustDomain: TrustDomain): SpiffeId {
  return parseSpiffeId(`${scheme}${trustDomain}`);
}

/** The trust domain an ID belongs to. */
export function trustDomainOf(id: SpiffeId): TrustDomain {
  return parseTrustDomain(parts(id).trustDomain);
}

function isTrustDomain(text: string): text is TrustDomain {
  return trustDomainFault(text) === undefined;
}

function isSpiffeId(text: string): text is SpiffeId {
  return spiffeIdFault(text) === undefined;
}

function trustDomainFault(text: string): string | undefined {
  if (text === '') return 'it is empty';
  if (text.length > maximumTrustDomainLength) return `it is longer than ${maximumTrustDomainLength} bytes`;
  if (!/^[a-z0-9._-]+$/.test(text)) return 'only a-z, 0-9, dot, dash and underscore are allowed in a trust domain';
  return undefined;
}

function spiffeIdFault(text: string): string | undefined {
  if (text === '') return 'it is empty';
  if (text.length > maximumIdLength) return `it is longer than ${maximumIdLength} bytes`;
  if (!text.startsWith(scheme)) return 'it does not start with spiffe://';
  const { trustDomain, segments } = parts(text);
  return trustDomainFault(trustDomain) ?? segments.map(segmentFault).find((fault) => fault !== undefined);
}

function segmentFault(segment: string): string | undefined {
  if (segment === '') return 'its path has an empty segment or ends with a slash';
  if (segment === '.' || segment === '..') return 'its path has a dot segment';
  if (!/^[A-Za-z0-9._-]+$/.test(segment)) return 'only A-Z, a-z, 0-9, dot, dash and underscore are allowed in its path';
  return undefined;
}

/** `text` starts with the scheme. */
function parts(text: string): { readonly trustDomain: string; readonly segments: readonly string[] } {
  const [trustDomain = '', ...segments] = text.slice(scheme.length).split('/');
  return { trustDomain, segments };
}

/** What a caller sent may be long and hold anything: shown short, on one line. */
function quote(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text);
}
