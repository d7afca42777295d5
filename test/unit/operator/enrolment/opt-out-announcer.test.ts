import assert from 'node:assert/strict';
import type { EventNote } from '../../../../src/kube/events.ts';
import { OptOutAnnouncer } from '../../../../src/operator/enrolment/opt-out-announcer.ts';
import { EnrolmentIndex } from '../../../../src/operator/enrolment/pod-index.ts';
import { FakeClock } from '../../../fixtures/fake-clock.ts';

describe('R40 what a namespace is told of pods that opt out', () => {
  let clock: FakeClock;
  let index: EnrolmentIndex;
  let notes: EventNote[];
  let announcer: OptOutAnnouncer;
  const shop = { metadata: { name: 'shop' } };

  const report = (...names: string[]) =>
    index.set(
      'n1',
      ['web', ...names].map((name) => ({
        uid: name,
        namespace: 'shop',
        name,
        serviceAccount: 'default',
        ips: [],
        captured: name === 'web',
        state: name === 'web' ? ('Secured' as const) : ('OptedOut' as const),
        reason: name === 'web' ? '' : 'PodLabel',
        message: '',
        existingConnections: 0,
        since: '2026-01-01T00:00:00Z',
      })),
    );

  async function settle(): Promise<void> {
    for (;;) {
      const outcome = await announcer.announce(shop);
      if (outcome.kind === 'done') return;
      await clock.advance(outcome.afterMs);
    }
  }

  beforeEach(() => {
    clock = new FakeClock();
    index = new EnrolmentIndex();
    notes = [];
    const events = { record: async (_regarding: object, note: EventNote) => void notes.push(note) };
    announcer = new OptOutAnnouncer({ clock, events, caches: { enrolment: index } });
  });

  it('R40 is which, as a warning, once', async () => {
    report('cart');
    await settle();
    await settle();
    assert.deepEqual(
      notes.map(({ type, reason }) => `${type} ${reason}`),
      ['Warning PodsOptedOut'],
    );
    assert.match(notes[0]?.note ?? '', /^1 pod has opted out by the label mesh\.tulle\.dev\/mode=none .*: cart\. /);
  });

  it('R40 is told again when there are more of them, not when they are replaced or fewer', async () => {
    report('cart-1');
    await settle();
    report('cart-2');
    await settle();
    report('cart-1', 'cart-2');
    await settle();
    report('cart-1');
    await settle();
    assert.deepEqual(
      notes.map(({ note }) => note.split(' ')[0]),
      ['1', '2'],
    );
    report('cart-1', 'redis');
    await settle();
    assert.match(notes[2]?.note ?? '', /^2 pods have opted out .*: cart-1; redis\. /);
  });

  it('R40 is nothing while a roll-out has one too many for a moment, or when none did', async () => {
    report();
    await settle();
    report('cart-1');
    await announcer.announce(shop);
    await clock.advance(1_000);
    report();
    await settle();
    assert.deepEqual(notes, []);
  });
});
