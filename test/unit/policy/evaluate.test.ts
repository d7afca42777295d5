import { deepStrictEqual, ok, strictEqual } from 'node:assert/strict';
import { canonicalIp } from '../../../src/model/ip.ts';
import type { Authorization, Match, TextMatch } from '../../../src/policy/authorization.ts';
import { type Connection, evaluate, type PeerIdentity } from '../../../src/policy/evaluate.ts';
import { strictMtls } from '../../../src/policy/mesh-policies.ts';

const target = { namespace: 'shop', policies: [] };

function from(identity: PeerIdentity | undefined): Connection {
  const ip = canonicalIp('10.0.0.1');
  ok(ip !== undefined);
  return { identity, sourceIp: ip, destinationIp: ip, destinationPort: 80 };
}

const account = (serviceAccount: string, namespace = 'shop'): PeerIdentity => ({
  trustDomain: 'cluster.local',
  namespace,
  serviceAccount,
});

function policy(action: Authorization['action'], match: Match, more: Partial<Authorization> = {}): Authorization {
  const rules = [{ clauses: [{ matches: [match] }] }];
  return { name: 'p', namespace: 'shop', scope: 'Namespace', action, dryRun: false, rules, ...more };
}

const principal = (...anyOf: TextMatch[]): Match => ({ principals: { anyOf, noneOf: [] } });
const allows = (policies: readonly Authorization[], connection: Connection) =>
  evaluate(policies, target, connection).enforced.allowed;

describe('Strict', () => {
  it('denies whoever proved no identity, and names the rule', () => {
    deepStrictEqual(evaluate([strictMtls], target, from(undefined)).enforced, {
      allowed: false,
      because: 'Denied',
      policy: 'tulle-system/strict-mtls',
      rule: 0,
    });
  });

  it('lets everybody of the mesh through', () => {
    strictEqual(allows([strictMtls], from(account('web'))), true);
  });
});

describe('R21 identities in rules', () => {
  const odd = ['a.b', '*', 'web*', '[web]', 'web\\', 'wéb', '网', '(web)+', '^web$', '%77eb'];
  for (const name of odd) {
    it(`take ${name} for itself and nothing else`, () => {
      const text = `cluster.local/ns/shop/sa/${name}`;
      const exact = policy('Allow', principal({ kind: 'Exact', text }));
      strictEqual(allows([exact], from(account(name))), true);
      strictEqual(allows([exact], from(account('web'))), false);
      strictEqual(allows([exact], from(account('axb'))), false);
      const suffix = policy('Allow', principal({ kind: 'Suffix', text: `/sa/${name}` }));
      strictEqual(allows([suffix], from(account(name))), true);
      strictEqual(allows([suffix], from(account('web'))), false);
      const pair = { namespace: 'shop', serviceAccount: name };
      const byAccount = policy('Allow', { serviceAccounts: { anyOf: [pair], noneOf: [] } });
      strictEqual(allows([byAccount], from(account(name))), true);
      strictEqual(allows([byAccount], from(account('web'))), false);
    });
  }

  it('do not take one form of Unicode for another', () => {
    const composed = policy('Allow', principal({ kind: 'Exact', text: 'cluster.local/ns/shop/sa/\u00e9' }));
    strictEqual(allows([composed], from(account('e\u0301'))), false);
  });
});

describe('a policy', () => {
  const nobody: Match = { namespaces: { anyOf: [{ kind: 'Exact', text: 'nobody' }], noneOf: [] } };

  it('of action Allow closes what it aims at to everybody else', () => {
    const verdict = evaluate([policy('Allow', nobody)], target, from(account('web'))).enforced;
    deepStrictEqual(verdict, { allowed: false, because: 'NotAllowed', policies: ['shop/p'] });
  });

  it('does nothing outside its scope', () => {
    strictEqual(allows([policy('Allow', nobody, { namespace: 'bank' })], from(account('web'))), true);
    strictEqual(allows([policy('Allow', nobody, { scope: 'Selector' })], from(account('web'))), true);
  });

  it('in dry run changes nothing and says what it would do', () => {
    const decision = evaluate([policy('Allow', nobody, { dryRun: true })], target, from(account('web')));
    deepStrictEqual(decision.enforced, { allowed: true, because: 'NoAllowPolicy' });
    strictEqual(decision.dryRun?.allowed, false);
  });

  it('with a match that says nothing allows nobody', () => {
    strictEqual(allows([policy('Allow', {})], from(account('web'))), false);
    strictEqual(allows([policy('Allow', principal())], from(account('web'))), false);
  });

  it('about an identity is not true of a connection without one, whatever it asks', () => {
    for (const text of ['', 'c']) {
      strictEqual(allows([policy('Allow', principal({ kind: 'Prefix', text }))], from(undefined)), false);
      const namespaces: Match = { namespaces: { anyOf: [{ kind: 'Suffix', text: '' }], noneOf: [] } };
      strictEqual(allows([policy('Allow', namespaces)], from(undefined)), false);
    }
  });
});
