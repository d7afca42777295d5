import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import {
  Action,
  AuthorizationSchema,
  type MatchSchema,
  Scope,
  type StringMatchSchema,
} from '../../proto/gen/istio/security/authorization_pb.js';
import type { Cidr } from '../model/cidr.ts';
import { ipBytes } from '../model/ip.ts';
import { type Authorization, type Match, policyName, type TextMatch } from '../policy/authorization.ts';
import { authorizationType, encodeResource, type Resource } from './resource.ts';

/** A policy as a resource, named `namespace/name`. */
export function encodeAuthorization(policy: Authorization): Resource {
  const message = create(AuthorizationSchema, {
    name: policy.name,
    namespace: policy.namespace,
    scope: scopes[policy.scope],
    action: policy.action === 'Allow' ? Action.ALLOW : Action.DENY,
    dryRun: policy.dryRun,
    rules: policy.rules.map(({ clauses }) => ({
      clauses: clauses.map(({ matches }) => ({ matches: matches.map(match) })),
    })),
  });
  return encodeResource(authorizationType, {
    name: policyName(policy),
    value: toBinary(AuthorizationSchema, message),
    aliases: [],
    memberOf: [],
  });
}

function match(value: Match): MessageInitShape<typeof MatchSchema> {
  const { namespaces, principals, serviceAccounts, sourceIps, destinationIps, destinationPorts } = value;
  return {
    namespaces: (namespaces?.anyOf ?? []).map(text),
    notNamespaces: (namespaces?.noneOf ?? []).map(text),
    principals: (principals?.anyOf ?? []).map(text),
    notPrincipals: (principals?.noneOf ?? []).map(text),
    serviceAccounts: [...(serviceAccounts?.anyOf ?? [])],
    notServiceAccounts: [...(serviceAccounts?.noneOf ?? [])],
    sourceIps: (sourceIps?.anyOf ?? []).map(cidr),
    notSourceIps: (sourceIps?.noneOf ?? []).map(cidr),
    destinationIps: (destinationIps?.anyOf ?? []).map(cidr),
    notDestinationIps: (destinationIps?.noneOf ?? []).map(cidr),
    destinationPorts: [...(destinationPorts?.anyOf ?? [])],
    notDestinationPorts: [...(destinationPorts?.noneOf ?? [])],
  };
}

function text(value: TextMatch): MessageInitShape<typeof StringMatchSchema> {
  switch (value.kind) {
    case 'Present':
      return { matchType: { case: 'presence', value: {} } };
    case 'Exact':
      return { matchType: { case: 'exact', value: value.text } };
    case 'Prefix':
      return { matchType: { case: 'prefix', value: value.text } };
    case 'Suffix':
      return { matchType: { case: 'suffix', value: value.text } };
  }
}

function cidr({ ip, prefixLength }: Cidr) {
  return { address: ipBytes(ip), length: prefixLength };
}

const scopes = {
  Mesh: Scope.GLOBAL,
  Namespace: Scope.NAMESPACE,
  Selector: Scope.WORKLOAD_SELECTOR,
} satisfies Record<Authorization['scope'], Scope>;
