/**
 * The authority as it is stored: which roots there are, and where each is in its life.
 *
 *                  nothing is trusted yet
 *   (no Secret) ────────────────────────────► active ─────────┐
 *        rotation                               ▲             │ another one became active
 *   (new root) ─► prepared ─────────────────────┘             ▼
 *                 trusted, signs nothing        signs      retiring ──────────────► gone
 *                 until every node has it                  trusted, signs nothing   nothing it signed is alive
 *
 * Invariants, all checked whenever the stored form is read:
 *   - exactly one authority is active; only the active one signs; a retiring one needs no private key and may have dropped it;
 *   - everything listed is in the trust bundle, so an authority is trusted before it signs and until it is gone;
 *   - a replica serves only what it has read back from the Secret, never what it just made: nothing is signed by an unstored key;
 *   - a phase never goes backwards.
 * This version makes the first root and serves every stored form; moving an authority on is the rotation's work.
 */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { type AuthorityPhase, authorityStates } from '../api/mesh.ts';
import { explain, TulleError } from '../errors/tulle-error.ts';
import { type RootCertificate, readRootCertificate } from './root-certificate.ts';
import type { TrustDomain } from './spiffe-id.ts';
import { type TrustBundle, trustBundle } from './trust-bundle.ts';

/** One authority, checked and ready to use. */
export interface Authority {
  readonly root: RootCertificate;
  readonly phase: AuthorityPhase;
  /** Absent only when retiring. */
  readonly signingKey: KeyObject | undefined;
}

/** The one that signs. */
export interface ActiveAuthority extends Authority {
  readonly phase: 'active';
  readonly signingKey: KeyObject;
}

/** A stored form that passed every check. */
export interface AuthorityState {
  readonly active: ActiveAuthority;
  /** All of them, in the order they were made. */
  readonly authorities: readonly Authority[];
  readonly bundle: TrustBundle;
}

/** An authority as the Secret holds it. */
export interface StoredAuthority {
  readonly id: string;
  readonly state: AuthorityPhase;
  readonly certificate: string;
  readonly privateKey?: string | undefined;
}

/** Eight authorities with their keys are under 16 KiB. */
const maximumLength = 65_536;

const storedForm = z.strictObject({
  format: z.literal(1),
  trustDomain: z.string(),
  authorities: z
    .array(
      z.strictObject({
        id: z.string(),
        state: z.enum(authorityStates),
        certificate: z.string(),
        privateKey: z.string().optional(),
      }),
    )
    .min(1)
    .max(8),
});

/** The text the Secret holds. */
export function encodeAuthorityState(trustDomain: TrustDomain, authorities: readonly StoredAuthority[]): string {
  return JSON.stringify({ format: 1, trustDomain, authorities });
}

/**
 * Reads the text the Secret holds and checks all of it. No error carries any of the text: it holds private keys.
 * @throws TulleError AuthorityStateInvalid
 */
export function parseAuthorityState(text: string, trustDomain: TrustDomain): AuthorityState {
  const stored = decode(text);
  if (stored.trustDomain !== trustDomain) {
    throw new TulleError(
      'AuthorityStateInvalid',
      `The Secret tulle-ca holds the authority of the trust domain ${stored.trustDomain}, and the Mesh is of ${trustDomain}.`,
      {
        mend:
          'Restore a backup of this trust domain; or delete the Mesh, and create it again with the trust domain of the ' +
          'Secret and then restore it, or without the Secret to start over.',
      },
    );
  }
  const authorities = stored.authorities.map((each) => readAuthority(each, trustDomain));
  const ids = new Set(authorities.map((authority) => authority.root.id));
  if (ids.size !== authorities.length) throw invalid('it lists an authority twice');
  const [active, ...furtherActive] = authorities.filter(isActive);
  if (active === undefined || furtherActive.length > 0) throw invalid('it must list exactly one active authority');
  const bundle = trustBundle(
    trustDomain,
    authorities.map((authority) => authority.root),
  );
  return { active, authorities, bundle };
}

/**
 * Whether `next` can have come from `held` by moves of the state machine that a replica may have missed some of: what signed
 * still has its place, and nothing went backwards.
 */
export function isSuccessor(held: AuthorityState, next: AuthorityState): boolean {
  return !contradicts(held, next) && next.authorities.some(({ root }) => root.id === held.active.root.id);
}

/** Whether `next` can never come after `held`: it is of another trust domain, replaces a certificate, or goes backwards. */
export function contradicts(held: AuthorityState, next: AuthorityState): boolean {
  if (held.bundle.trustDomain !== next.bundle.trustDomain) return true;
  const replaced = held.authorities.some(({ root }) =>
    next.authorities.some((after) => after.root.id === root.id && after.root.pem !== root.pem),
  );
  return replaced || goesBack(phasesOf(held), next);
}

/**
 * Whether `next` can have come from the authorities that were reported: the one that signs now was among them, and nothing went
 * backwards. All but the first must be reported before they sign.
 */
export function followsReport(reported: readonly AuthorityAt[], next: AuthorityState): boolean {
  return reported.some(({ id }) => id === next.active.root.id) && !goesBack(reported, next);
}

/** An authority by its id, and where in its life it is. */
export interface AuthorityAt {
  readonly id: string;
  readonly state: AuthorityPhase;
}

function phasesOf(state: AuthorityState): readonly AuthorityAt[] {
  return state.authorities.map(({ root, phase }) => ({ id: root.id, state: phase }));
}

/** Whether an authority of `before` is at an earlier phase in `next`. */
export function goesBack(before: readonly AuthorityAt[], next: AuthorityState): boolean {
  const after = new Map(next.authorities.map(({ root, phase }) => [root.id, phase]));
  return before.some(({ id, state }) => order(after.get(id) ?? state) < order(state));
}

function order(phase: AuthorityPhase): number {
  return authorityStates.indexOf(phase);
}

function isActive(authority: Authority): authority is ActiveAuthority {
  return authority.phase === 'active' && authority.signingKey !== undefined;
}

/** Neither JSON.parse's errors nor zod's are kept as cause: the first quote the text. */
function decode(text: string): z.output<typeof storedForm> {
  if (text.length > maximumLength) throw invalid(`it is longer than ${maximumLength} characters`);
  const result = storedForm.safeParse(parseJson(text));
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

function readAuthority(stored: StoredAuthority, trustDomain: TrustDomain): Authority {
  const root = readRoot(stored.certificate, trustDomain);
  if (root.id !== stored.id) throw invalid('an id is not that of its certificate');
  if (stored.privateKey === undefined) {
    if (stored.state !== 'retiring') throw invalid(`the ${stored.state} authority ${root.id} has no private key`);
    return { root, phase: stored.state, signingKey: undefined };
  }
  const signingKey = readPrivateKey(stored.privateKey, root.id);
  if (!root.certificate.checkPrivateKey(signingKey)) {
    throw invalid(`the private key of authority ${root.id} is not that of its certificate`);
  }
  return { root, phase: stored.state, signingKey };
}

function readRoot(pem: string, trustDomain: TrustDomain): RootCertificate {
  try {
    return readRootCertificate(pem, trustDomain, 'AuthorityStateInvalid');
  } catch (error) {
    throw invalid(explain(error).replace(/\.$/, ''));
  }
}

function readPrivateKey(pem: string, id: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    throw invalid(`the private key of authority ${id} cannot be read`);
  }
}

function invalid(why: string): TulleError {
  return new TulleError(
    'AuthorityStateInvalid',
    `What the Secret tulle-ca in tulle-system holds cannot be used: ${why}.`,
    {
      mend: 'Restore the Secret tulle-ca in tulle-system from its backup.',
    },
  );
}
