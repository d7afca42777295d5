import { isTulleError, TulleError } from '../errors/tulle-error.ts';
import { type AuthorityState, isSuccessor, parseAuthorityState } from './authority-state.ts';
import type { TrustDomain } from './spiffe-id.ts';
import type { PublishedBundle, StoredSecret } from './stores.ts';
import { bundleSha256, parseTrustBundle } from './trust-bundle.ts';

/**
 * What a replica knows when it decides.
 *
 * `published` must have been read before `stored`: a bundle is published only after its Secret is there, so a bundle without a
 * Secret then means that the Secret was lost, and never that another replica was just between its two writes.
 */
export interface Observation {
  readonly trustDomain: TrustDomain;
  /** What this replica serves, undefined when nothing yet. */
  readonly served: AuthorityState | undefined;
  readonly published: PublishedBundle | undefined;
  readonly stored: StoredSecret | undefined;
}

/** What to do about it. */
export type Decision =
  /** Nothing was ever there: make the first authority. */
  | { readonly action: 'create' }
  /** Serve this, after its bundle is published when `publish` says so. */
  | { readonly action: 'serve'; readonly state: AuthorityState; readonly publish: boolean }
  /** Something is wrong: go on with what is served, if anything, and say so. */
  | { readonly action: 'refuse'; readonly problem: TulleError };

/** Decides; touches nothing. */
export function decide(observation: Observation): Decision {
  const { stored, served, published, trustDomain } = observation;
  if (stored === undefined) {
    return served === undefined && !isEvidence(published)
      ? { action: 'create' }
      : { action: 'refuse', problem: lost() };
  }
  const state = parsed(stored.state, trustDomain);
  if (state instanceof TulleError) return { action: 'refuse', problem: state };
  if (!isContinuation(observation, state)) return { action: 'refuse', problem: swapped(state) };
  const publish = published?.pem !== state.bundle.pem || published.sha256 !== state.bundle.sha256;
  return { action: 'serve', state, publish };
}

/** A ConfigMap that carries our annotation was written by us, for a mesh that had an authority. */
function isEvidence(published: PublishedBundle | undefined): boolean {
  return published?.sha256 !== undefined;
}

/** Whether `state` continues what this replica served or, at its start, what the mesh trusts. */
function isContinuation(observation: Observation, state: AuthorityState): boolean {
  if (observation.served !== undefined) return isSuccessor(observation.served, state);
  const trusted = trustedIds(observation.published, observation.trustDomain);
  return trusted === undefined || trusted.has(state.active.root.id);
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
    return parseAuthorityState(state, trustDomain);
  } catch (error) {
    if (isTulleError(error)) return error;
    throw error;
  }
}

const restore = 'Restore the Secret tulle-ca in tulle-system from its backup.';

function lost(): TulleError {
  return new TulleError('AuthorityLost', 'The Secret tulle-ca is gone, and this mesh trusts an authority it held.', {
    mend: `${restore} To start over with a new authority instead, delete the Mesh and create it again.`,
  });
}

function swapped(state: AuthorityState): TulleError {
  return new TulleError(
    'AuthoritySwapped',
    `The Secret tulle-ca holds the authority ${state.active.root.id}, which does not follow from the one this mesh trusts.`,
    { mend: restore },
  );
}
