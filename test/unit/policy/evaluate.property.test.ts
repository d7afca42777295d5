import { deepStrictEqual, ok } from 'node:assert/strict';
import fc from 'fast-check';
import type { Cidr } from '../../../src/model/cidr.ts';
import { canonicalIp, type IpText } from '../../../src/model/ip.ts';
import type { Authorization, Field, Match, TextMatch } from '../../../src/policy/authorization.ts';
import { type Connection, evaluate, type Target } from '../../../src/policy/evaluate.ts';
import { oracleAllows } from './oracle.ts';

function ip(text: string): IpText {
  const canonical = canonicalIp(text);
  ok(canonical !== undefined);
  return canonical;
}

// Few values, so that rules and connections meet; some of them are traps for whoever reads them as patterns.
const words = fc.constantFrom('a', 'ab', 'b', 'a.b', 'a*', '*', '[ab]', 'a\\', 'ä', '𝒂');
const ips = fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.1.1', '192.168.0.1', 'fd00::1', 'fd00::2').map(ip);
const ports = fc.constantFrom(80, 443, 8080);

const texts: fc.Arbitrary<TextMatch> = fc.oneof(
  fc.constant<TextMatch>({ kind: 'Present' }),
  fc.record({
    kind: fc.constantFrom('Exact', 'Prefix', 'Suffix'),
    text: fc.oneof(
      words,
      words.map((word) => `mesh/ns/${word}`),
      fc.tuple(words, words).map(([namespace, account]) => `mesh/ns/${namespace}/sa/${account}`),
    ),
  }),
);

const cidrs: fc.Arbitrary<Cidr> = ips.chain((address) =>
  fc.integer({ min: 0, max: address.includes(':') ? 128 : 32 }).map((prefixLength) => ({ ip: address, prefixLength })),
);

const field = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<Field<T>> =>
  fc.record({ anyOf: fc.array(value, { maxLength: 2 }), noneOf: fc.array(value, { maxLength: 1 }) });

const matches: fc.Arbitrary<Match> = fc.record(
  {
    namespaces: field(texts),
    principals: field(texts),
    serviceAccounts: field(fc.record({ namespace: words, serviceAccount: words })),
    sourceIps: field(cidrs),
    destinationIps: field(cidrs),
    destinationPorts: field(ports),
  },
  { requiredKeys: [] },
);

const policies: fc.Arbitrary<Authorization> = fc.record({
  name: fc.constantFrom('p', 'q'),
  namespace: fc.constantFrom('a', 'b'),
  scope: fc.constantFrom('Mesh', 'Namespace', 'Selector'),
  action: fc.constantFrom('Allow', 'Deny'),
  dryRun: fc.boolean(),
  rules: fc.array(
    fc.record({
      clauses: fc.array(fc.record({ matches: fc.array(matches, { maxLength: 2 }) }), { maxLength: 2 }),
    }),
    { maxLength: 2 },
  ),
});

const connections: fc.Arbitrary<Connection> = fc.record({
  identity: fc.option(fc.record({ trustDomain: fc.constant('mesh'), namespace: words, serviceAccount: words }), {
    nil: undefined,
  }),
  sourceIp: ips,
  destinationIp: ips,
  destinationPort: ports,
});

const targets: fc.Arbitrary<Target> = fc.record({
  namespace: fc.constantFrom('a', 'b'),
  policies: fc.subarray(['a/p', 'a/q', 'b/p']),
});

describe('R23 evaluation of policy', () => {
  it('equals an independently written oracle on random policies', () => {
    const seen = { allowed: 0, denied: 0, notAllowed: 0, dryRunDiffers: 0 };
    fc.assert(
      fc.property(fc.array(policies, { maxLength: 4 }), targets, connections, (policies, target, connection) => {
        const { enforced, dryRun } = evaluate(policies, target, connection);
        deepStrictEqual(enforced.allowed, oracleAllows(policies, target, connection, 'enforced'));
        deepStrictEqual((dryRun ?? enforced).allowed, oracleAllows(policies, target, connection, 'all'));
        if (enforced.because === 'Allowed') seen.allowed++;
        if (enforced.because === 'Denied') seen.denied++;
        if (enforced.because === 'NotAllowed') seen.notAllowed++;
        if (dryRun !== undefined && dryRun.allowed !== enforced.allowed) seen.dryRunDiffers++;
      }),
      { numRuns: 20_000 },
    );
    // The cases are worth something only when every outcome is common among them.
    for (const [outcome, times] of Object.entries(seen)) ok(times > 300, `${outcome}: ${times} times`);
  });
});
