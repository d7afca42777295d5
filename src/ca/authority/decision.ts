import { isTulleError, TulleError } from '../../errors/tulle-error.ts';
import type { TrustDomain } from '../x509/spiffe-id.ts';
import { type AuthorityState, contradicts, followsReport, goesBack, isSuccessor } from './state.ts';
import { parseAuthority } from './stored-authority.ts';
import type { Evidence, PublishedBundle, StoredBundle, StoredSecret } from './stores.ts';
import { bundleSha256, parseTrustBundle } from './trust-bundle.ts';

/**
 * What a replica knows when it decides.
 *
 * `published` and `evidence` must have been read before `stored`: both are written only after the Secret is there, so that one of
 * them without a Secret means that the Secret was lost, and never that another replica was just between its writes.
 */
export interface Observation {
  readonly trustDomain: TrustDomain;
  /** What this replica holds since it last agreed with the Secret, undefined when nothing yet. */
  readonly held: AuthorityState | undefined;
  readonly published: StoredBundle | undefined;
  readonly evidence: Evidence;
  readonly stored: StoredSecret | undefined;
}

/** A bundle that is to be published, in the place of the one that was read: its version, undefined where there was none. */
export interface Publication {
  readonly over: string | undefined;
}

/** What to do about it. `publish`: first make the published bundle that of the state, or in a refusal that of what is held. */
export type Decision =
  /** Nothing was ever there: make the first authority. */
  | { readonly action: 'create' }
  /** Hold this and sign with it. */
  | { readonly action: 'serve'; readonly state: AuthorityState; readonly publish: Publication | undefined }
  /** The Secret has no authority this replica may sign with: sign nothing, go on with the rest, and say so. */
  | { readonly action: 'refuse'; readonly problem: TulleError; readonly publish: Publication | undefined };

/** Decides; touches nothing. */
export function decide(observation: Observation): Decision {
  const { stored, published, trustDomain } = observation;
  if (stored === undefined) return hasEvidence(observation) ? refuse(observation, lost()) : { action: 'create' };
  const state = parsed(stored.state, trustDomain);
  if (state instanceof TulleError) return refuse(observation, state);
  if (!isOfThisMesh(observation, state)) return refuse(observation, swapped(observation, state));
  return { action: 'serve', state, publish: differs(published, state) ? inPlaceOf(published) : undefined };
}

function refuse(observation: Observation, problem: TulleError): Decision {
  return {
    action: 'refuse',
    problem,
    publish: mayRestoreBundle(observation) ? inPlaceOf(observation.published) : undefined,
  };
}

function inPlaceOf(published: StoredBundle | undefined): Publication {
  return { over: published?.version };
}

/** Whether anything says that this mesh had an authority. A ConfigMap that carries our annotation was written for one. */
function hasEvidence({ held, published, evidence }: Observation): boolean {
  if (held !== undefined || published?.sha256 !== undefined) return true;
  return evidence.reported !== undefined || evidence.acknowledged.length > 0;
}

/**
 * Whether `state` is the authority of this mesh: it follows from what this replica holds or, when that is nothing or has been
 * missing a whole rotation, from what the mesh remembers. The first that can be read decides: the report in the Mesh, the bundle,
 * the nodes. The report is written after the Secret, so what it says is never undone. A replica that holds something gives it up
 * on the Mesh's word alone.
 */
function isOfThisMesh({ trustDomain, held, published, evidence }: Observation, state: AuthorityState): boolean {
  if (goesBack(evidence.reported?.authorities ?? [], state)) return false;
  if (held !== undefined) {
    if (isSuccessor(held, state)) return true;
    if (contradicts(held, state)) return false;
  }
  const { reported, acknowledged } = evidence;
  if (reported !== undefined) return followsReport(reported.authorities, state);
  if (held !== undefined) return false;
  const trusted = trustedIds(published, trustDomain);
  if (trusted !== undefined) return trusted.has(state.active.anchor.root.id);
  return acknowledged.length === 0 || acknowledged.includes(state.bundle.sha256);
}

/**
 * Whether a replica that may not sign puts the bundle of what it holds back: when the Mesh says that this is the bundle of the
 * mesh, and, where the Mesh says nothing, in the place of none or a damaged one.
 */
function mayRestoreBundle({ trustDomain, held, published, evidence }: Observation): boolean {
  if (held === undefined || !differs(published, held)) return false;
  if (evidence.reported !== undefined) return evidence.reported.bundleSha256 === held.bundle.sha256;
  return trustedIds(published, trustDomain) === undefined;
}

function differs(published: PublishedBundle | undefined, { bundle }: AuthorityState): boolean {
  return published?.pem !== bundle.pem || published.sha256 !== bundle.sha256;
}

/** The roots the mesh trusts, undefined when nobody can tell: no bundle, or one that is not as we wrote it. */
function trustedIds(published: PublishedBundle | undefined, trustDomain: TrustDomain): ReadonlySet<string> | undefined {
  if (published?.sha256 === undefined || bundleSha256(published.pem) !== published.sha256) return undefined;
  try {
    return new Set(parseTrustBundle(trustDomain, published.pem).roots.map((root) => root.id));
  } catch (error) {
    if (isTulleError(error)) return undefined;
    throw error;
  }
}

function parsed(state: string, trustDomain: TrustDomain): AuthorityState | TulleError {
  try {
    return parseAuthority(state, trustDomain);
  } catch (error) {
    if (isTulleError(error)) return error;
    throw error;
  }
}

const restore = 'Restore the Secret tulle-ca in tulle-system from its backup.';

function lost(): TulleError {
  return new TulleError('AuthorityLost', 'The Secret tulle-ca is gone, and this mesh has an authority it held.', {
    fix: `${restore} To start over with a new authority instead, delete the Mesh and create it again.`,
  });
}

function swapped({ held, evidence }: Observation, { active }: AuthorityState): TulleError {
  const reported = evidence.reported?.authorities.find(({ state }) => state === 'active');
  const expected = reported?.id ?? held?.active.anchor.root.id;
  const which = expected === undefined ? '' : `, ${expected},`;
  return new TulleError(
    'AuthoritySwapped',
    `The Secret tulle-ca holds the authority ${active.anchor.root.id}, which does not follow from the one${which} that this mesh has.`,
    { fix: `${restore} A backup from before a rotation is of no use.` },
  );
}
