/** The form in which the Secret `tulle-ca` holds the authority: written once, checked whole whenever it is read. */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { type AuthorityPhase, authorityStates } from '../../api/mesh.ts';
import { explain, TulleError } from '../../errors/tulle-error.ts';
import { commonValidity } from '../x509/certificate-profile.ts';
import { readRootCertificate } from '../x509/root-certificate.ts';
import { readSigningCertificate, type SigningCertificate } from '../x509/signing-certificate.ts';
import type { TrustDomain } from '../x509/spiffe-id.ts';
import { type ActiveSigner, type AuthorityState, phaseOrder, type Signer, type TrustAnchor } from './state.ts';
import { trustBundle } from './trust-bundle.ts';

/** A trust anchor as the Secret holds it. */
export interface StoredTrustAnchor {
  /** The subject key identifier of its certificate. */
  readonly id: string;
  readonly state: AuthorityPhase;
  /** One PEM block. */
  readonly certificate: string;
}

/** A signer as the Secret holds it. */
export interface StoredSigner {
  /** The subject key identifier of its certificate. */
  readonly id: string;
  readonly state: AuthorityPhase;
  /** The id of the trust anchor its chain leads to. */
  readonly trustAnchor: string;
  /** One PEM block each, the signer's own certificate first; empty where the trust anchor's key is the signer's. */
  readonly chain: readonly string[];
  /** PKCS #8, PEM. */
  readonly privateKey?: string | undefined;
}

/** All that is stored. */
export interface StoredAuthority {
  readonly trustAnchors: readonly StoredTrustAnchor[];
  readonly signers: readonly StoredSigner[];
}

/** The format this version writes, and the only one it reads. */
const format = 2;
/** Eight anchors and eight signers with four certificates each are under 48 KiB. */
const maximumLength = 65_536;
const most = 8;
const longestChain = 4;

const storedForm = z.strictObject({
  format: z.literal(format),
  trustDomain: z.string(),
  trustAnchors: z
    .array(z.strictObject({ id: z.string(), state: z.enum(authorityStates), certificate: z.string() }))
    .min(1)
    .max(most),
  signers: z
    .array(
      z.strictObject({
        id: z.string(),
        state: z.enum(authorityStates),
        trustAnchor: z.string(),
        chain: z.array(z.string()).max(longestChain),
        privateKey: z.string().optional(),
      }),
    )
    .min(1)
    .max(most),
});

const anyForm = z.looseObject({ format: z.int() });

/** The text the Secret holds. */
export function encodeAuthority(trustDomain: TrustDomain, { trustAnchors, signers }: StoredAuthority): string {
  return JSON.stringify({ format, trustDomain, trustAnchors, signers });
}

/**
 * Reads the text the Secret holds and checks all of it. No error carries any of the text: it holds private keys.
 * @throws TulleError AuthorityStateInvalid, AuthorityFormatUnknown
 */
export function parseAuthority(text: string, trustDomain: TrustDomain): AuthorityState {
  const stored = decode(text);
  if (stored.trustDomain !== trustDomain) throw ofAnotherDomain(stored.trustDomain, trustDomain);
  const anchors = stored.trustAnchors.map((each) => readAnchor(each, trustDomain));
  requireOnce(anchors.map(({ root }) => root.id));
  const signers = stored.signers.map((each) => readSigner(each, anchors, trustDomain));
  requireOnce(signers.map(({ id }) => id));
  const [active, ...furtherActive] = signers.filter(isActive);
  if (active === undefined || furtherActive.length > 0) throw invalid('it must list exactly one active signer');
  const activeAnchors = anchors.filter(({ phase }) => phase === 'active');
  if (activeAnchors.length !== 1)
    throw invalid('it must list exactly one active trust anchor, that of the active signer');
  const bundle = trustBundle(
    trustDomain,
    anchors.map(({ root }) => root),
  );
  return { active, anchors, signers, bundle };
}

/** Neither JSON.parse's errors nor zod's are kept as cause: the first quote the text. */
function decode(text: string): z.output<typeof storedForm> {
  if (text.length > maximumLength) throw invalid(`it is longer than ${maximumLength} characters`);
  const value = parseJson(text);
  const any = anyForm.safeParse(value);
  if (any.success && any.data.format !== format) throw ofAnotherFormat(any.data.format);
  const result = storedForm.safeParse(value);
  if (result.success) return result.data;
  const paths = result.error.issues.map((issue) => issue.path.join('.') || 'the whole').join(', ');
  throw invalid(`it is malformed at ${paths}`);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw invalid('it is not JSON, so it was truncated or edited');
  }
}

function readAnchor(stored: StoredTrustAnchor, trustDomain: TrustDomain): TrustAnchor {
  const root = usable(() => readRootCertificate(stored.certificate, trustDomain, 'AuthorityStateInvalid'));
  if (root.id !== stored.id) throw invalid('an id is not that of its certificate');
  return { root, phase: stored.state };
}

function readSigner(stored: StoredSigner, anchors: readonly TrustAnchor[], trustDomain: TrustDomain): Signer {
  const anchor = anchors.find(({ root }) => root.id === stored.trustAnchor);
  if (anchor === undefined) throw invalid('a signer is under a trust anchor that is not listed');
  const chain = stored.chain.map((pem) =>
    usable(() => readSigningCertificate(pem, trustDomain, { called: 'intermediate', code: 'AuthorityStateInvalid' })),
  );
  const [issuer = anchor.root] = chain;
  if (issuer.id !== stored.id) throw invalid('an id is not that of its certificate');
  const upToAnchor = [...chain, anchor.root];
  requireChain(upToAnchor, issuer.id);
  requirePhase(stored, anchor);
  return {
    id: issuer.id,
    phase: stored.state,
    anchor,
    chain,
    issuer,
    validity: commonValidity(upToAnchor.map(({ validity }) => validity)),
    key: readKey(stored, issuer),
  };
}

/**
 * Each certificate is signed by the next, and allowed so many between it and a leaf. The proxies do not ask a trust anchor how
 * many it allows; other verifiers do.
 */
function requireChain(upToAnchor: readonly SigningCertificate[], id: string): void {
  for (const [below, { pathLength }] of upToAnchor.entries()) {
    if (pathLength !== undefined && pathLength < below) {
      throw invalid(`the chain of signer ${id} is longer than a certificate in it allows`);
    }
    const [child, parent] = upToAnchor.slice(below, below + 2);
    if (child === undefined || parent === undefined) return;
    if (!child.certificate.checkIssued(parent.certificate) || !child.certificate.verify(parent.publicKey.key)) {
      throw invalid(`the chain of signer ${id} does not lead to its trust anchor`);
    }
  }
}

/** Nothing signs that is not trusted everywhere, and what is trusted no more but for what it signed signs nothing. */
function requirePhase({ id, state }: StoredSigner, anchor: TrustAnchor): void {
  const ahead = anchor.phase === 'prepared' && state !== 'prepared';
  const left = anchor.phase === 'retiring' && phaseOrder(state) < phaseOrder('retiring');
  if (ahead || left) throw invalid(`the signer ${id} is ${state} under a trust anchor that is ${anchor.phase}`);
}

function readKey({ state, privateKey }: StoredSigner, { id, certificate }: SigningCertificate): KeyObject | undefined {
  if (privateKey === undefined) {
    if (state === 'retiring') return undefined;
    throw invalid(`the ${state} signer ${id} has no private key`);
  }
  const key = parseKey(privateKey, id);
  if (!certificate.checkPrivateKey(key))
    throw invalid(`the private key of signer ${id} is not that of its certificate`);
  return key;
}

function parseKey(pem: string, id: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    throw invalid(`the private key of signer ${id} cannot be read`);
  }
}

function isActive(signer: Signer): signer is ActiveSigner {
  return signer.phase === 'active' && signer.key !== undefined;
}

function requireOnce(ids: readonly string[]): void {
  if (new Set(ids).size !== ids.length) throw invalid('it lists a trust anchor or a signer twice');
}

function usable<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw invalid(explain(error).replace(/\.$/, ''));
  }
}

function ofAnotherFormat(found: number): TulleError {
  return new TulleError(
    'AuthorityFormatUnknown',
    `The Secret tulle-ca in tulle-system is of format ${found}, and this version of tulle-control reads format ${format}.`,
    {
      fix:
        'Run the version of Tulle that wrote it, or restore a backup of format ' +
        `${format}. To start over with a new authority instead, delete the Mesh and create it again.`,
    },
  );
}

function ofAnotherDomain(found: string, trustDomain: TrustDomain): TulleError {
  return new TulleError(
    'AuthorityStateInvalid',
    `The Secret tulle-ca holds the authority of the trust domain ${found}, and the Mesh is of ${trustDomain}.`,
    {
      fix:
        'Restore a backup of this trust domain; or delete the Mesh, and create it again with the trust domain of the ' +
        'Secret and then restore it, or without the Secret to start over.',
    },
  );
}

function invalid(why: string): TulleError {
  return new TulleError(
    'AuthorityStateInvalid',
    `What the Secret tulle-ca in tulle-system holds cannot be used: ${why}.`,
    {
      fix: 'Restore the Secret tulle-ca in tulle-system from its backup.',
    },
  );
}
