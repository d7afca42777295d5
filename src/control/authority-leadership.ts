import type { AuthorityReport } from '../ca/authority/authority.ts';
import type { LeaderElection } from '../kube/controller/lease.ts';
import type { AuthorityStatus } from './authority-status.ts';

export interface AuthorityLeadershipOptions {
  readonly election: Pick<LeaderElection, 'run'>;
  readonly status: Pick<AuthorityStatus, 'lead' | 'warn' | 'wake'>;
  readonly report: () => AuthorityReport;
}

/**
 * Who writes how the authority stands. A replica contends for the Lease while it signs, and at no other time:
 *
 *   loading, withheld ──── signs ────► candidate ──── the Lease is free ────► leader
 *         ▲        warns                   │ ▲                                  │
 *         │                                │ └────────── Lease lost ────────────┤
 *         └────────────── signs no more ───┴──────── steps down first ──────────┘
 */
export class AuthorityLeadership {
  readonly #options: AuthorityLeadershipOptions;
  #phase: { readonly issuing: boolean; readonly end: AbortController } | undefined;

  constructor(options: AuthorityLeadershipOptions) {
    this.#options = options;
  }

  /** The report, or the Mesh, may have changed. */
  wake(): void {
    const { status, report } = this.#options;
    if (this.#phase?.issuing !== report().issuing) this.#phase?.end.abort();
    status.wake();
  }

  /** Until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { election, status, report } = this.#options;
    while (!signal.aborted) {
      const { issuing } = report();
      const end = new AbortController();
      this.#phase = { issuing, end };
      const during = AbortSignal.any([signal, end.signal]);
      if (issuing) await election.run(during, (term) => status.lead(term));
      else await status.warn(during);
    }
  }
}
