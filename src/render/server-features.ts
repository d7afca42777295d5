/** What the API server offers beyond what every supported version has. */
export interface ServerFeatures {
  /** The version it serves MutatingAdmissionPolicy in: v1 from Kubernetes 1.36, v1beta1 from 1.34 where enabled. */
  readonly mutatingAdmission: 'v1' | 'v1beta1' | undefined;
}
