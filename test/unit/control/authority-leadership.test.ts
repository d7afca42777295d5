import { deepStrictEqual } from 'node:assert/strict';
import type { AuthorityReport } from '../../../src/ca/authority/authority.ts';
import { AuthorityLeadership } from '../../../src/control/authority-leadership.ts';
import { turn } from '../../fixtures/fake-clock.ts';

function ended(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

describe('which replica leads', () => {
  it('R11 one that signs contends; one that is loading or withheld does not, and one that stops signing steps down first', async () => {
    const told: string[] = [];
    let report: AuthorityReport = { issuing: false, problem: undefined, status: undefined };
    const leadership = new AuthorityLeadership({
      election: {
        run: async (signal, lead) => {
          told.push('contends');
          await lead(signal);
          await turn();
          told.push('gave the Lease up');
        },
      },
      status: {
        lead: (signal) => ended(signal),
        warn: async (signal) => {
          told.push('warns');
          await ended(signal);
        },
        wake: () => {},
      },
      report: () => report,
    });
    const stop = new AbortController();
    const running = leadership.run(stop.signal);
    const becomes = async (issuing: boolean) => {
      report = { ...report, issuing };
      leadership.wake();
      leadership.wake();
      for (let turns = 0; turns < 3; turns++) await turn();
      return told.splice(0);
    };
    deepStrictEqual(await becomes(false), ['warns']);
    deepStrictEqual(await becomes(true), ['contends']);
    deepStrictEqual(await becomes(true), [], 'goes on');
    deepStrictEqual(await becomes(false), ['gave the Lease up', 'warns']);
    deepStrictEqual(await becomes(true), ['contends']);
    stop.abort();
    await running;
    deepStrictEqual(told, ['gave the Lease up']);
  });
});
