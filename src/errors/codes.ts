/**
 * The registry of error codes: every error this project raises on purpose has a line here, with what it means.
 *
 * Codes are CamelCase so that one word serves the error, the log line and the `reason` of a condition or Event.
 * A code, once released, keeps its meaning; sections are by the part that raises it.
 */
export const errorCodes = {
  // api: what a user wrote
  MeshSpecInvalid: 'A Mesh spec has fields that cannot be used.',
  SpiffeIdInvalid: 'A text is not a SPIFFE ID this mesh accepts.',
  TrustDomainInvalid: 'A text is not a trust domain.',

  // ca: the authority
  AuthorityNotLoaded: 'No authority is loaded yet, so nothing can be signed.',
  AuthorityStateInvalid: 'The stored authority is truncated or edited.',
  AuthorityFormatUnknown: 'The stored authority was written by another version, in a format this one does not read.',
  AuthoritySwapped: 'The stored authority is a different one than the one this mesh has.',
  AuthorityLost: 'The mesh had an authority and its Secret is gone.',
  AuthorityWithheld: 'This replica may not sign with the authority it holds, or not yet.',
  AuthorityExpired: 'The root certificate that signs is not valid now.',
  CsrInvalid: 'A certificate signing request cannot be used.',
  TrustBundleNotPublished: 'The trust bundle could not be written to its ConfigMap.',
  TrustBundleInvalid: 'A trust bundle holds something that is not a CA certificate.',
  CertificateProfileInvalid: 'A certificate was asked for that this authority never signs.',

  // ca: who calls
  CallerUnauthenticated: 'The caller did not prove who it is.',
  CallerNotPermitted: 'The caller may not have the identity it asked for.',
  CallerReviewUnavailable: 'Who calls cannot be checked now: the API server did not answer.',
  CallerReviewsOverloaded: 'More callers are to be checked than this replica checks at once.',
  CallsTooMany: 'A caller has more calls open at once than anything needs.',
  IssuanceOverloaded: 'More certificates are asked for than this replica signs at once.',

  // kube: the API server
  KubernetesRequestFailed: 'The API server refused a request.',
  KubernetesUnreachable: 'The API server did not answer.',
  KubeconfigInvalid: 'The kubeconfig, or the in-cluster configuration, cannot be used.',

  // cli: what a user finds in a cluster
  NotInstalled: 'The cluster does not know the kinds of Tulle.',
  MeshAbsent: 'There is no Mesh named default.',
  NamespaceAbsent: 'There is no namespace of that name.',

  // runtime and controllers
  EngineNotSupported: 'The Mesh asks for a node engine this version does not drive.',
  VersionNotSupported: 'The Mesh asks for a Tulle version this operator does not install.',
  NotDefault: 'Only the Mesh named default takes effect.',

  // xds
  XdsRequestInvalid: 'A discovery request does not follow the protocol.',
  XdsSubscriptionTooLarge: 'A client subscribes to more than this server keeps for one stream.',
  XdsRequestsTooMany: 'A client sends requests, or opens streams, faster than anything needs.',
  XdsPolicyNotAsked: 'A client asks for addresses and not for all of the policies they rely on.',
  XdsClientSilent: 'A client did not acknowledge what it was told.',
  XdsNotReady: 'The mesh is not known yet, or this replica is going away, so nobody is told of it.',

  // every entry point
  EnvironmentInvalid: 'An environment variable is missing or cannot be used.',

  // make generate
  GeneratedFilesStale: 'Generated files differ from what the sources give.',
  SchemaNotStructural: 'A schema of ours has no form an API server accepts.',
} as const satisfies Record<string, string>;

/** One of the registered codes. */
export type ErrorCode = keyof typeof errorCodes;
