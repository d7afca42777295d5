/**
 * Layer 4 policy as node proxies enforce it: the wire's Authorization as types. All values are immutable.
 *
 * Policies OR, rules OR, clauses AND, matches OR, fields of a match AND, values of a field OR. Two corners, as every
 * proxy on this wire has them: a rule without clauses, or a clause without matches, matches everything; a match that
 * says nothing matches nothing, so that what a proxy could not understand never widens an Allow.
 */

import type { Cidr } from '../model/cidr.ts';

export interface Authorization {
  readonly name: string;
  readonly namespace: string;
  readonly scope: Scope;
  readonly action: 'Allow' | 'Deny';
  readonly rules: readonly Rule[];
  /** Evaluated and reported, never enforced. */
  readonly dryRun: boolean;
}

/** Mesh: all workloads. Namespace: those of the policy's namespace. Selector: those that name the policy. */
export type Scope = 'Mesh' | 'Namespace' | 'Selector';

export interface Rule {
  readonly clauses: readonly Clause[];
}

export interface Clause {
  readonly matches: readonly Match[];
}

/** An absent field says nothing. */
export interface Match {
  readonly namespaces?: Field<TextMatch>;
  /** Compared with the SPIFFE ID without `spiffe://`. */
  readonly principals?: Field<TextMatch>;
  readonly serviceAccounts?: Field<ServiceAccountMatch>;
  readonly sourceIps?: Field<Cidr>;
  readonly destinationIps?: Field<Cidr>;
  readonly destinationPorts?: Field<number>;
}

/** One of `anyOf` when there are any, and none of `noneOf`. */
export interface Field<T> {
  readonly anyOf: readonly T[];
  readonly noneOf: readonly T[];
}

/** The text is a literal in every kind: `.`, `*`, `[` and `\` mean themselves. `Present` matches any but the empty text. */
export type TextMatch =
  | { readonly kind: 'Exact' | 'Prefix' | 'Suffix'; readonly text: string }
  | { readonly kind: 'Present' };

export interface ServiceAccountMatch {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** `namespace/name`, as on the wire. */
export function policyName(policy: Pick<Authorization, 'namespace' | 'name'>): string {
  return `${policy.namespace}/${policy.name}`;
}
