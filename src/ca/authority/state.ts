/**
 * The authority: whom the mesh trusts, what signs, and where each is in its life.
 *
 *                  nothing is trusted yet
 *   (no Secret) ────────────────────────────► active ─────────┐
 *        rotation                               ▲             │ another one became active
 *   (new root) ─► prepared ─────────────────────┘             ▼
 *                 trusted, signs nothing        signs      retiring ──────────────► gone
 *                 until every node has it                  trusted, signs nothing   nothing it signed is alive
 *
 * A trust anchor is a root that peers believe. A signer is a key with the certificates that lead from it to a trust anchor: the
 * anchor's own key, or that of an intermediate. Both live the life above, for another signer may become active under the same
 * anchor; `stored-authority.ts` has the form they are stored in.
 *
 * Invariants, all checked whenever the stored form is read:
 *   - exactly one signer is active, under the one active anchor; only it signs; a retiring one may have dropped its private key;
 *   - a signer is never ahead of its anchor, and retires with it;
 *   - every anchor listed is in the trust bundle, so that it is trusted before it signs and until it is gone;
 *   - a replica serves only what it has read back from the Secret, never what it just made: nothing is signed by an unstored key;
 *   - a phase never goes backwards.
 * This version makes the first root, which is its own signer, and serves every stored form; moving on is the rotation's work.
 */
import type { KeyObject } from 'node:crypto';
import { type AuthorityPhase, authorityStates } from '../../api/mesh.ts';
import type { Validity } from '../x509/certificate-profile.ts';
import type { RootCertificate } from '../x509/root-certificate.ts';
import type { SigningCertificate } from '../x509/signing-certificate.ts';
import type { TrustBundle } from './trust-bundle.ts';

/** A root that is believed, checked. */
export interface TrustAnchor {
  readonly root: RootCertificate;
  readonly phase: AuthorityPhase;
}

/** A key that signs, did or will, checked. */
export interface Signer {
  /** The subject key identifier of its certificate, lower-case hex. */
  readonly id: string;
  readonly phase: AuthorityPhase;
  readonly anchor: TrustAnchor;
  /** The certificates between a leaf and the anchor, the signer's own first; none where the anchor's key is the signer's. */
  readonly chain: readonly SigningCertificate[];
  /** Whom a leaf names as its issuer: the first of `chain`, or the anchor's. */
  readonly issuer: SigningCertificate;
  /** When all of the chain is valid, the anchor included. */
  readonly validity: Validity;
  /** Absent only when retiring. */
  readonly key: KeyObject | undefined;
}

/** The one that signs. */
export interface ActiveSigner extends Signer {
  readonly phase: 'active';
  readonly key: KeyObject;
}

/** A stored form that passed every check. */
export interface AuthorityState {
  readonly active: ActiveSigner;
  /** In the order they were made, as the signers are. */
  readonly anchors: readonly TrustAnchor[];
  readonly signers: readonly Signer[];
  readonly bundle: TrustBundle;
}

/** A trust anchor or a signer by its id, and where in its life it is. */
export interface AuthorityAt {
  readonly id: string;
  readonly state: AuthorityPhase;
}

/**
 * Whether `next` can have come from `held` by moves of the state machine that a replica may have missed some of: the anchor of
 * what signed still has its place, and nothing went backwards.
 */
export function isSuccessor(held: AuthorityState, next: AuthorityState): boolean {
  return !contradicts(held, next) && next.anchors.some(({ root }) => root.id === held.active.anchor.root.id);
}

/** Whether `next` can never come after `held`: it is of another trust domain, replaces an anchor, or goes backwards. */
export function contradicts(held: AuthorityState, next: AuthorityState): boolean {
  if (held.bundle.trustDomain !== next.bundle.trustDomain) return true;
  const replaced = held.anchors.some(({ root }) =>
    next.anchors.some((after) => after.root.id === root.id && after.root.pem !== root.pem),
  );
  return replaced || goesBack(anchorsOf(held), next) || isBehind(signersOf(held), signersOf(next));
}

/**
 * Whether `next` can have come from the trust anchors that were reported: that of what signs now was among them, and nothing went
 * backwards. All but the first must be reported before anything under them signs.
 */
export function followsReport(reported: readonly AuthorityAt[], next: AuthorityState): boolean {
  return reported.some(({ id }) => id === next.active.anchor.root.id) && !goesBack(reported, next);
}

/** Whether a trust anchor of `before` is at an earlier phase in `next`. */
export function goesBack(before: readonly AuthorityAt[], next: AuthorityState): boolean {
  return isBehind(before, anchorsOf(next));
}

/** The trust anchors, as the Mesh reports them. */
export function anchorsOf({ anchors }: AuthorityState): readonly AuthorityAt[] {
  return anchors.map(({ root, phase }) => ({ id: root.id, state: phase }));
}

function signersOf({ signers }: AuthorityState): readonly AuthorityAt[] {
  return signers.map(({ id, phase }) => ({ id, state: phase }));
}

function isBehind(before: readonly AuthorityAt[], after: readonly AuthorityAt[]): boolean {
  const now = new Map(after.map(({ id, state }) => [id, state]));
  return before.some(({ id, state }) => phaseOrder(now.get(id) ?? state) < phaseOrder(state));
}

/** Later in the life is greater. */
export function phaseOrder(phase: AuthorityPhase): number {
  return authorityStates.indexOf(phase);
}
