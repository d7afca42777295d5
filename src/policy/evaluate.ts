import { contains } from '../model/cidr.ts';
import type { IpText } from '../model/ip.ts';
import { type Authorization, type Field, type Match, policyName, type Rule, type TextMatch } from './authorization.ts';

/** Who connects to what. `identity` is undefined when the connection proved none (plaintext). */
export interface Connection {
  readonly identity: PeerIdentity | undefined;
  readonly sourceIp: IpText;
  readonly destinationIp: IpText;
  readonly destinationPort: number;
}

export interface PeerIdentity {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** The workload that is connected to. */
export interface Target {
  readonly namespace: string;
  /** Names (`namespace/name`) of the policies aimed at it by a selector. */
  readonly policies: readonly string[];
}

/** Why a connection is let through or not; `policy` is `namespace/name`, `rule` the index of the rule that matched. */
export type Decision =
  | { readonly allowed: true; readonly because: 'NoAllowPolicy' }
  | { readonly allowed: true; readonly because: 'Allowed'; readonly policy: string; readonly rule: number }
  | { readonly allowed: false; readonly because: 'Denied'; readonly policy: string; readonly rule: number }
  | { readonly allowed: false; readonly because: 'NotAllowed'; readonly policies: readonly string[] };

export interface Decisions {
  readonly enforced: Decision;
  /** What the decision would be if policies in dry run were enforced too; undefined when none of them aims here. */
  readonly dryRun: Decision | undefined;
}

/**
 * Decides as a node proxy does. Today only tests call it, which hold the encoding and the proxy's evaluation to it; status and
 * explanation of AccessPolicy will. Pure; policies may come in any order, the first of the matching ones is named.
 */
export function evaluate(policies: readonly Authorization[], target: Target, connection: Connection): Decisions {
  const aimed = policies.filter((policy) => aimsAt(policy, target));
  const enforced = aimed.filter((policy) => !policy.dryRun);
  return {
    enforced: decide(enforced, connection),
    dryRun: enforced.length === aimed.length ? undefined : decide(aimed, connection),
  };
}

function aimsAt(policy: Authorization, target: Target): boolean {
  switch (policy.scope) {
    case 'Mesh':
      return true;
    case 'Namespace':
      return policy.namespace === target.namespace;
    case 'Selector':
      return target.policies.includes(policyName(policy));
  }
}

function decide(policies: readonly Authorization[], connection: Connection): Decision {
  const denied = firstMatch(policies, 'Deny', connection);
  if (denied !== undefined) return { allowed: false, because: 'Denied', ...denied };
  const allows = policies.filter(({ action }) => action === 'Allow');
  if (allows.length === 0) return { allowed: true, because: 'NoAllowPolicy' };
  const allowed = firstMatch(allows, 'Allow', connection);
  if (allowed !== undefined) return { allowed: true, because: 'Allowed', ...allowed };
  return { allowed: false, because: 'NotAllowed', policies: allows.map(policyName) };
}

function firstMatch(policies: readonly Authorization[], action: Authorization['action'], connection: Connection) {
  for (const policy of policies) {
    if (policy.action !== action) continue;
    const rule = policy.rules.findIndex((rule) => ruleMatches(rule, connection));
    if (rule !== -1) return { policy: policyName(policy), rule };
  }
  return undefined;
}

function ruleMatches(rule: Rule, connection: Connection): boolean {
  return rule.clauses.every(
    ({ matches }) => matches.length === 0 || matches.some((match) => matchMatches(match, connection)),
  );
}

/** Nothing is true of an identity that is not there, so only negated fields match without one. */
function matchMatches(match: Match, { identity, ...connection }: Connection): boolean {
  return (
    !saysNothing(match) &&
    fieldMatches(match.namespaces, (text) => identity !== undefined && textMatches(text, identity.namespace)) &&
    fieldMatches(match.principals, (text) => identity !== undefined && textMatches(text, principalOf(identity))) &&
    fieldMatches(
      match.serviceAccounts,
      (account) =>
        identity !== undefined &&
        account.namespace === identity.namespace &&
        account.serviceAccount === identity.serviceAccount,
    ) &&
    fieldMatches(match.sourceIps, (cidr) => contains(cidr, connection.sourceIp)) &&
    fieldMatches(match.destinationIps, (cidr) => contains(cidr, connection.destinationIp)) &&
    fieldMatches(match.destinationPorts, (port) => port === connection.destinationPort)
  );
}

function saysNothing(match: Match): boolean {
  const { namespaces, principals, serviceAccounts, sourceIps, destinationIps, destinationPorts } = match;
  return [namespaces, principals, serviceAccounts, sourceIps, destinationIps, destinationPorts].every(
    (field) => field === undefined || field.anyOf.length + field.noneOf.length === 0,
  );
}

function fieldMatches<T>(field: Field<T> | undefined, matches: (value: T) => boolean): boolean {
  if (field === undefined) return true;
  return (field.anyOf.length === 0 || field.anyOf.some(matches)) && !field.noneOf.some(matches);
}

/** A SPIFFE ID as policies write it. */
function principalOf({ trustDomain, namespace, serviceAccount }: PeerIdentity): string {
  return `${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
}

function textMatches(match: TextMatch, text: string): boolean {
  switch (match.kind) {
    case 'Present':
      return text !== '';
    case 'Exact':
      return text === match.text;
    case 'Prefix':
      return text.startsWith(match.text);
    case 'Suffix':
      return text.endsWith(match.text);
  }
}
