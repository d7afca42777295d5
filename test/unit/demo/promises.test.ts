import assert from 'node:assert/strict';
import type { CaptureReport, FlowReport } from '../../../hack/demo/capture/analyse.ts';
import { type DemoFacts, judge, timeToFirstEncryptedByte } from '../../../hack/demo/promises.ts';
import { flow, goodFacts, pair, pod, report, SECOND, SETTLED_AT, state, visits } from './demo-fixture.ts';

/** What a changed demo is found not to hold. */
const broken = (change: (facts: DemoFacts) => Partial<DemoFacts>) => {
  const facts = goodFacts();
  return judge({ ...facts, ...change(facts) })
    .filter(({ holds }) => !holds)
    .map(({ promise, seen }) => `${promise}: ${seen}`);
};
const onlyBroken = (change: (facts: DemoFacts) => Partial<DemoFacts>) => {
  const findings = broken(change);
  assert.equal(findings.length, 1, findings.join('\n'));
  return findings[0] ?? '';
};
const flowsOf = (facts: DemoFacts) => facts.wires.flatMap((wire) => wire.report.flows);
const withFlows = (flows: readonly FlowReport[], more: Partial<CaptureReport> = {}, dropped = 0) => ({
  wires: [{ node: 'node-1', report: { ...report(flows), ...more }, dropped }],
});

describe('the promises of the demo', () => {
  it('is good when everything is as promised', () => {
    assert.deepEqual(
      broken(() => ({})),
      [],
    );
  });

  it('tells the time from the label to the first encrypted byte', () => {
    assert.equal(timeToFirstEncryptedByte(goodFacts()), 2 * SECOND);
    assert.equal(timeToFirstEncryptedByte({ ...goodFacts(), ...withFlows([]) }), undefined);
    const earlier = flow('web', 'cart', 15008, 3 * SECOND);
    const facts = goodFacts();
    assert.equal(timeToFirstEncryptedByte({ ...facts, ...withFlows([earlier, ...flowsOf(facts)]) }), 2 * SECOND);
  });

  it('is bad when the capture shows nothing before the label', () => {
    const seen = onlyBroken((facts) =>
      withFlows(flowsOf(facts).filter((each) => each.server.address !== pod('redis').address || each.tls)),
    );
    assert.match(seen, /before the label.*nothing of cart → redis/);
  });

  it('is bad when packets were missed or cut off', () => {
    assert.match(
      onlyBroken((facts) => withFlows(flowsOf(facts), {}, 1)),
      /1 missed/,
    );
    assert.match(
      onlyBroken((facts) => withFlows(flowsOf(facts), { truncated: 2 })),
      /2 cut off/,
    );
    assert.notEqual(broken(() => ({ wires: [] })).length, 0);
  });

  it('is bad when anything is readable after the existing connections have ended', () => {
    const late = flow('web', 'cart', 8080, SETTLED_AT + SECOND);
    assert.match(
      onlyBroken((facts) => withFlows([...flowsOf(facts), late])),
      /nothing is readable: .*web → cart port 8080/,
    );
    const stray = { at: SETTLED_AT + 1, bytes: 5, what: 'IP protocol 17', sample: 'hello' };
    assert.match(
      onlyBroken((facts) => withFlows(flowsOf(facts), { other: [stray] })),
      /IP protocol 17: hello/,
    );
  });

  it('accepts what is readable while those connections are ending', () => {
    const draining = flow('cart', 'redis', 6379, SETTLED_AT - SECOND);
    assert.deepEqual(
      broken((facts) => withFlows([...flowsOf(facts), draining])),
      [],
    );
  });

  it('is bad when the tunnel was readable at any time', () => {
    const early = {
      ...flow('web', 'cart', 15008, 12 * SECOND),
      readable: [{ at: 12 * SECOND, bytes: 3, what: 'no TLS record', sample: 'GET' }],
    };
    assert.match(
      onlyBroken((facts) => withFlows([...flowsOf(facts), early])),
      /at any time: no TLS record: GET/,
    );
  });

  it('is bad when a kind of call does not go through the tunnel, or its handshake was not seen', () => {
    const toRedis = (each: FlowReport) => each.tls !== undefined && each.server.address === pod('redis').address;
    assert.match(
      onlyBroken((facts) => withFlows(flowsOf(facts).filter((each) => !toRedis(each)))),
      /for cart → redis/,
    );
    const unseen = (each: FlowReport) =>
      each.tls && toRedis(each) ? { ...each, tls: { ...each.tls, handshakeSeen: false } } : each;
    assert.match(
      onlyBroken((facts) => withFlows(flowsOf(facts).map(unseen))),
      /for cart → redis/,
    );
  });

  it('is bad when the tunnel was there but idle or gone in the end', () => {
    const ended = (each: FlowReport) => (each.tls ? { ...each, lastAt: SETTLED_AT - 1 } : each);
    assert.match(
      onlyBroken((facts) => withFlows(flowsOf(facts).map(ended))),
      /no such connection/,
    );
  });

  it('is bad when a pod is not Secured, is not mentioned, or holds an existing connection', () => {
    const change = (changed: object) => (facts: DemoFacts) => ({
      states: [
        { ...state('web'), ...changed },
        ...facts.states.filter(({ serviceAccount }) => serviceAccount !== 'web'),
      ],
    });
    assert.match(onlyBroken(change({ state: 'Failed', reason: 'PortInUse' })), /web-1: Failed PortInUse/);
    assert.match(onlyBroken(change({ state: 'Pending', existingConnections: 2 })), /3 of 4 Secured, 2 existing/);
    assert.match(onlyBroken(change({ captured: false })), /3 of 4 Secured/);
    assert.match(onlyBroken(change({ uid: 'an earlier pod' })), /3 of 4 Secured/);
  });

  it('is bad when an identity is missing, wrong, or seen by one end only', () => {
    const [first, ...rest] = goodFacts().identities;
    assert.ok(first);
    assert.match(
      onlyBroken(() => ({ identities: rest })),
      /not seen by both ends: .*visitor/,
    );
    assert.match(
      onlyBroken(() => ({ identities: [{ ...first, countedByDestination: 0 }, ...rest] })),
      /not seen by both/,
    );
    assert.match(
      onlyBroken(() => ({ identities: [first, ...rest, pair('visitor', 'redis')] })),
      /not expected/,
    );
    assert.match(
      onlyBroken(() => ({ trustDomain: 'other.example' })),
      /not expected.*cluster\.local/,
    );
  });

  it('is bad when a pod was restarted, replaced or added', () => {
    const change = (changed: object) => (facts: DemoFacts) => ({
      podsAfter: facts.podsAfter.map((each) => (each.part === 'cart' ? { ...each, ...changed } : each)),
    });
    assert.match(onlyBroken(change({ restarts: 1 })), /cart-1 was restarted/);
    assert.match(onlyBroken(change({ startTime: 'later' })), /cart-1 started anew/);
    assert.match(onlyBroken(change({ containersStartedAt: ['later'] })), /cart-1 started anew/);
    assert.match(broken(change({ uid: 'other', name: 'cart-2' })).join(), /cart-1 is gone, cart-2 is new/);
  });

  it('is bad when a request failed, none succeeded, or the visitor began anew', () => {
    assert.match(
      onlyBroken(() => ({ visitsAfter: visits(450, 1) })),
      /1 failed.*socket hang up/,
    );
    assert.match(
      onlyBroken(() => ({ visitsAfter: visits(50) })),
      /0 visits succeeded/,
    );
    assert.match(
      onlyBroken(() => ({ visitsAfter: { ...visits(450), since: 'later' } })),
      /began anew/,
    );
  });
});
