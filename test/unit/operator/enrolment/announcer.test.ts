import assert from 'node:assert/strict';
import type { PodState } from '../../../../src/api/mesh-node.ts';
import type { EventNote } from '../../../../src/kube/events.ts';
import { EnrolmentAnnouncer } from '../../../../src/operator/enrolment/announcer.ts';
import { EnrolmentIndex } from '../../../../src/operator/enrolment/pod-index.ts';
import { FakeClock } from '../../../fixtures/fake-clock.ts';

describe('what a namespace is told of its enrolment', () => {
  let clock: FakeClock;
  let index: EnrolmentIndex;
  let notes: EventNote[];
  let announcer: EnrolmentAnnouncer;
  const shop = { metadata: { name: 'shop' } };

  const report = (...states: PodState[]) =>
    index.set(
      'n1',
      states.map((state, i) => ({
        uid: `u${i}`,
        namespace: 'shop',
        name: `web-${i}`,
        serviceAccount: 'default',
        ips: [],
        captured: state === 'Secured',
        state,
        reason: state === 'Failed' ? 'PortInUse' : '',
        message: '',
        existingConnections: 0,
        since: '2026-01-01T00:00:00Z',
      })),
    );

  /** Passes until the announcer has nothing to wait for. */
  async function settle(step: 'announce' | 'announceLeft' = 'announce'): Promise<void> {
    for (;;) {
      const outcome = await announcer[step](shop);
      if (outcome.kind === 'done') return;
      await clock.advance(outcome.afterMs);
    }
  }

  beforeEach(() => {
    clock = new FakeClock();
    index = new EnrolmentIndex();
    notes = [];
    const events = { record: async (_regarding: object, note: EventNote) => void notes.push(note) };
    announcer = new EnrolmentAnnouncer({ clock, events, caches: { enrolment: index } });
  });

  it('is nothing while there are no pods, or some are on their way', async () => {
    await settle();
    report('Secured', 'Pending');
    await settle();
    assert.deepEqual(notes, []);
  });

  it('is that all are secured, once', async () => {
    report('Secured', 'Secured');
    await settle();
    await settle();
    assert.deepEqual(notes, [
      { type: 'Normal', reason: 'PodsSecured', action: 'Enrol', note: 'All 2 pods are secured.', isNews: true },
    ]);
  });

  it('R40 is not that all are secured where one has opted out', async () => {
    report('Secured', 'Secured', 'OptedOut');
    await settle();
    assert.equal(notes[0]?.note, 'All 2 pods are secured, but for 1 that opted out.');
  });

  it('is nothing of a state that does not last', async () => {
    report('Secured');
    await announcer.announce(shop);
    await clock.advance(2_000);
    report('Secured', 'Pending');
    await announcer.announce(shop);
    await clock.advance(2_000);
    report('Secured');
    assert.equal((await announcer.announce(shop)).kind, 'requeue');
    assert.deepEqual(notes, []);
  });

  it('is which pods could not be secured and why, and again that all are when they were fixed', async () => {
    report('Secured', 'Failed');
    await settle();
    assert.deepEqual([notes[0]?.type, notes[0]?.reason], ['Warning', 'PodsNotSecured']);
    assert.match(notes[0]?.note ?? '', /^1 of 2 pods are outside the mesh: web-1 \(PortInUse\)/);
    report('Secured', 'Secured');
    await settle();
    assert.equal(notes[1]?.reason, 'PodsSecured');
  });

  it('R30 is that they have left when the Mesh is deleted, once none is in it any more', async () => {
    report('Secured');
    await settle();
    assert.equal((await announcer.announceLeft(shop, true)).kind, 'requeue');
    await clock.advance(60_000);
    assert.equal((await announcer.announceLeft(shop, true)).kind, 'requeue', 'one is in it still');
    report();
    assert.equal((await announcer.announceLeft(shop, true)).kind, 'done');
    assert.deepEqual(
      notes.map(({ reason }) => reason),
      ['PodsSecured', 'PodsLeft'],
    );
  });

  it('is that they have left, once none is on its way any more, and again that all are secured', async () => {
    report('Secured', 'Secured');
    await settle();
    report('Pending', 'Pending');
    assert.equal((await announcer.announceLeft(shop)).kind, 'requeue');
    await clock.advance(60_000);
    assert.equal((await announcer.announceLeft(shop)).kind, 'requeue', 'they still drain');
    report();
    await settle('announceLeft');
    await settle('announceLeft');
    assert.equal(notes[1]?.reason, 'PodsLeft');
    report('Secured', 'Secured');
    await settle();
    assert.deepEqual(
      notes.map(({ reason }) => reason),
      ['PodsSecured', 'PodsLeft', 'PodsSecured'],
    );
  });

  it('is nothing of leaving where the label came back at once, or nothing was secured', async () => {
    await settle('announceLeft');
    report('Secured');
    await settle();
    await announcer.announceLeft(shop);
    await settle();
    await clock.advance(60_000);
    await settle();
    assert.equal(notes.length, 1);
  });

  it('names pods that stay by a label of their own', async () => {
    report('Secured', 'Secured');
    await settle();
    report('Secured');
    await settle('announceLeft');
    assert.match(notes[1]?.note ?? '', /but for 1 with a label of their own/);
  });

  it('does not grow with pods that come and go while all are secured', async () => {
    for (let pods = 1; pods < 50; pods += 1) {
      report(...Array.from({ length: pods }, () => 'Secured' as const));
      await settle();
    }
    assert.equal(notes.length, 1);
  });
});
