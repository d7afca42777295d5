import type { Mesh } from '../api/mesh.ts';
import { fieldManagers } from '../api/names.ts';
import type { AuthorityReport } from '../ca/authority/authority.ts';
import { explain, type TulleError } from '../errors/tulle-error.ts';
import type { KubeClient } from '../kube/client/client.ts';
import type { Clock } from '../kube/clock.ts';
import type { DesiredCondition } from '../kube/conditions.ts';
import type { EventRecorder } from '../kube/events.ts';
import { applyStatus, statusChange } from '../kube/status.ts';
import type { Log } from '../telemetry/log.ts';

export interface AuthorityStatusOptions {
  readonly client: Pick<KubeClient, 'applyStatus'>;
  readonly events: Pick<EventRecorder, 'record'>;
  /** The Mesh as it is now, undefined when there is none. */
  readonly mesh: () => Mesh | undefined;
  readonly report: () => AuthorityReport;
  /** Whether no replica leads. */
  readonly vacant: () => Promise<boolean>;
  readonly clock: Pick<Clock, 'now' | 'sleep'>;
  readonly log: Log;
}

/** Before a write that failed is tried again, and before a replica that warns looks again whether another leads, ms. */
const retryMs = 5_000;

/**
 * Writes how the authority stands into the Mesh. A replica that signs and leads writes `status.authority` and the condition
 * AuthorityReady. One that does not sign writes an Event, and the condition only while nobody leads: while a leader signs, the
 * mesh's authority is ready. `status.authority` it never touches: that is the evidence of what the mesh had.
 */
export class AuthorityStatus {
  readonly #options: AuthorityStatusOptions;
  #nap = new AbortController();

  constructor(options: AuthorityStatusOptions) {
    this.#options = options;
  }

  /** Something may have changed. */
  wake(): void {
    this.#nap.abort();
  }

  /** Until the signal aborts, which is when another replica leads or this one signs no more. */
  async lead(signal: AbortSignal): Promise<void> {
    await this.#repeat(signal, () => this.#writeStatus(), aborted);
  }

  /** Until the signal aborts, which is when this replica signs. */
  async warn(signal: AbortSignal): Promise<void> {
    let told = false;
    const warn = async () => {
      const live = this.#options.mesh();
      const { problem } = this.#options.report();
      if (live === undefined || problem === undefined) return;
      await this.#recordProblem(live, problem, !told);
      told = true;
      await this.#writeCondition(live);
    };
    // Nothing shortens the pause: two replicas with different problems would overwrite each other's condition without one.
    await this.#repeat(signal, warn, () => this.#options.clock.sleep(retryMs, signal));
    if (told && this.#options.report().issuing) await this.#sayItIsOver();
  }

  async #repeat(
    signal: AbortSignal,
    write: () => Promise<void>,
    sleep: (asleep: AbortSignal) => Promise<void>,
  ): Promise<void> {
    const { clock, log } = this.#options;
    while (!signal.aborted) {
      // Made before the write, so that a change during the write ends the sleep after it.
      this.#nap = new AbortController();
      const asleep = AbortSignal.any([signal, this.#nap.signal]);
      try {
        await write();
        await sleep(asleep);
      } catch (error) {
        log.warn({ err: error }, 'the status of the authority cannot be written');
        await clock.sleep(retryMs, signal);
      }
    }
  }

  /** Nothing where the Mesh says it already. */
  async #writeStatus(): Promise<void> {
    const live = this.#options.mesh();
    if (live === undefined) return;
    const { client, clock, report } = this.#options;
    const { status: authority } = report();
    const part = { ...(authority === undefined ? {} : { authority }), conditions: [this.#condition(live)] };
    await applyStatus(client, clock, live, part, fieldManagers.control);
  }

  async #recordProblem(live: Mesh, problem: TulleError, isNews: boolean): Promise<void> {
    const note = explain(problem);
    const { code: reason } = problem;
    await this.#options.events.record(live, { type: 'Warning', reason, action: 'SignCertificates', note, isNews });
  }

  /** With a field manager of its own: applied by the leader's, a status without an authority would take that away. */
  async #writeCondition(live: Mesh): Promise<void> {
    const { client, clock, vacant } = this.#options;
    const change = statusChange(live, { conditions: [this.#condition(live)] }, clock.now());
    if (change === undefined || !(await vacant())) return;
    await client.applyStatus(change, { fieldManager: fieldManagers.controlWarning, force: true });
  }

  async #sayItIsOver(): Promise<void> {
    const live = this.#options.mesh();
    if (live === undefined) return;
    const note = 'Certificates are signed again.';
    const action = 'SignCertificates';
    await this.#options.events.record(live, { type: 'Normal', reason: 'AuthorityServing', action, note, isNews: true });
  }

  #condition(live: Mesh): DesiredCondition {
    return authorityReady(this.#options.report(), live.metadata.generation);
  }
}

/** The condition AuthorityReady. Replicas that agree on the problem give the same text, so that none writes over another's. */
export function authorityReady(
  { issuing, problem }: AuthorityReport,
  generation: number | undefined,
): DesiredCondition {
  return {
    type: 'AuthorityReady',
    status: issuing ? 'True' : 'False',
    reason: problem?.code ?? (issuing ? 'Serving' : 'Loading'),
    message: messageOf(issuing, problem === undefined ? undefined : explain(problem)),
    ...(generation === undefined ? {} : { observedGeneration: generation }),
  };
}

function messageOf(issuing: boolean, problem: string | undefined): string {
  if (issuing) return problem === undefined ? 'Certificates are signed.' : `Certificates are signed. ${problem}`;
  const consequence = 'No certificate is signed; those that were signed are good until they expire.';
  return problem === undefined ? consequence : `${problem} ${consequence}`;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
