import type { MeshSpec } from './mesh-spec.ts';

/** What a spec asks for that a version of Tulle does not do; the reason is that of the condition Accepted. */
export interface NotSupported {
  readonly reason: 'VersionNotSupported' | 'EngineNotSupported';
  readonly message: string;
}

/** The first thing in `spec` that Tulle `version` does not do, undefined when it does all of it. */
export function notSupported(spec: MeshSpec, version: string): NotSupported | undefined {
  if (spec.version !== undefined && spec.version !== version) {
    const message = `spec.version is ${spec.version}, this is Tulle ${version}. Leave spec.version out, or install the operator of that version.`;
    return { reason: 'VersionNotSupported', message };
  }
  if (spec.node.engine !== 'Tulle') {
    const message = `spec.node.engine is ${spec.node.engine}; this version drives Tulle only. Set it to Tulle, or leave it out.`;
    return { reason: 'EngineNotSupported', message };
  }
  return undefined;
}
