/**
 * A second, independent reading of the rules in docs/wire.md, for comparison only. It works on other shapes on purpose: texts
 * are compared as arrays of code points, addresses as big integers, and the logic is written as sets of witnesses rather
 * than as nested loops that stop early.
 */
import type { Cidr } from '../../../src/model/cidr.ts';
import type { Authorization, Match, TextMatch } from '../../../src/policy/authorization.ts';
import type { Connection, Target } from '../../../src/policy/evaluate.ts';

/** 'enforced': policies in dry run are left out; 'all': they count. */
export function oracleAllows(
  policies: readonly Authorization[],
  target: Target,
  connection: Connection,
  which: 'enforced' | 'all',
): boolean {
  const counted = new Set<Authorization>();
  for (const policy of policies) {
    if (which === 'enforced' && policy.dryRun) continue;
    if (policy.scope === 'Namespace' && target.namespace !== policy.namespace) continue;
    if (policy.scope === 'Selector' && target.policies.indexOf([policy.namespace, policy.name].join('/')) < 0) continue;
    counted.add(policy);
  }
  const matching = new Set([...counted].filter((policy) => witnesses(policy, connection).length > 0));
  if ([...matching].some((policy) => policy.action === 'Deny')) return false;
  const allows = [...counted].filter((policy) => policy.action === 'Allow');
  return allows.length === 0 || allows.some((policy) => matching.has(policy));
}

/** The rules of a policy none of whose clauses fails. */
function witnesses(policy: Authorization, connection: Connection): number[] {
  return policy.rules.flatMap((rule, index) => {
    const failing = rule.clauses.filter(({ matches }) => {
      if (matches.length === 0) return false;
      return matches.filter((match) => holds(match, connection)).length === 0;
    });
    return failing.length === 0 ? [index] : [];
  });
}

function holds(match: Match, { identity, sourceIp, destinationIp, destinationPort }: Connection): boolean {
  const principal =
    identity && [identity.trustDomain, 'ns', identity.namespace, 'sa', identity.serviceAccount].join('/');
  const tests: { positive: boolean[]; negative: boolean[] }[] = [];
  const add = <T>(field: { anyOf: readonly T[]; noneOf: readonly T[] } | undefined, is: (value: T) => boolean) => {
    if (field) tests.push({ positive: field.anyOf.map(is), negative: field.noneOf.map(is) });
  };
  add(match.namespaces, (text) => like(text, identity?.namespace));
  add(match.principals, (text) => like(text, principal));
  add(match.serviceAccounts, (account) => {
    if (!identity) return false;
    const wanted = JSON.stringify([account.namespace, account.serviceAccount]);
    return wanted === JSON.stringify([identity.namespace, identity.serviceAccount]);
  });
  add(match.sourceIps, (cidr) => within(cidr, sourceIp));
  add(match.destinationIps, (cidr) => within(cidr, destinationIp));
  add(match.destinationPorts, (port) => Object.is(port, destinationPort));
  const values = tests.reduce((sum, { positive, negative }) => sum + positive.length + negative.length, 0);
  if (values === 0) return false;
  return !tests.some(
    ({ positive, negative }) => negative.includes(true) || (positive.length > 0 && !positive.includes(true)),
  );
}

function like(match: TextMatch, text: string | undefined): boolean {
  if (text === undefined) return false;
  const has = [...text];
  if (match.kind === 'Present') return has.length > 0;
  const wanted = [...match.text];
  if (wanted.length > has.length) return false;
  const part = match.kind === 'Suffix' ? has.slice(has.length - wanted.length) : has.slice(0, wanted.length);
  const equal = part.every((character, index) => character === wanted[index]);
  return equal && (match.kind !== 'Exact' || has.length === wanted.length);
}

function within({ ip, prefixLength }: Cidr, address: string): boolean {
  const network = number(ip);
  const host = number(address);
  if (network.bits !== host.bits) return false;
  const shift = BigInt(network.bits - prefixLength);
  return network.value >> shift === host.value >> shift;
}

/** Of the canonical texts of the model: dotted, or eight groups. */
function number(text: string): { bits: number; value: bigint } {
  if (!text.includes(':')) {
    return { bits: 32, value: text.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n) };
  }
  return { bits: 128, value: text.split(':').reduce((sum, part) => sum * 65536n + BigInt(`0x${part}`), 0n) };
}
