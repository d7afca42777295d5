import { explain, isTulleError, TulleError } from '../errors/tulle-error.ts';
import { ApiError } from '../kube/client/api-error.ts';

/** What a user is told of an error: what went wrong, and how to fix it where we know. */
export function failureText(error: unknown): string {
  const known = isTulleError(error) ? error : recognise(error);
  const fix = known.fix === undefined ? '' : `\n  ${known.fix}`;
  return `tulle: ${known.message}${fix}\n`;
}

/** Errors of the API server and of the network, as a user sees them. */
function recognise(error: unknown): TulleError {
  if (error instanceof ApiError) return refused(error);
  const code = systemCode(error);
  if (code === undefined) return new TulleError('KubernetesRequestFailed', explain(error), { cause: error });
  return new TulleError('KubernetesUnreachable', `The API server does not answer: ${explain(error) || code}.`, {
    fix: 'Check that the cluster runs and that the kubeconfig is the right one: kubectl cluster-info',
    cause: error,
  });
}

function refused(cause: ApiError): TulleError {
  switch (cause.status) {
    case 401:
      return new TulleError('KubernetesRequestFailed', 'The API server does not accept these credentials.', {
        fix: 'Log in to the cluster again, or choose another context with --context.',
        cause,
      });
    case 403:
      return new TulleError('KubernetesRequestFailed', `You may not do this: ${cause.message}.`, {
        fix: 'Ask for get and list on meshes and meshnodes of mesh.tulle.dev.',
        cause,
      });
    default:
      return new TulleError('KubernetesRequestFailed', cause.message, { cause });
  }
}

/** The code of a system or network error, also of one that caused it. */
function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ('code' in error && typeof error.code === 'string') return error.code;
  if (error instanceof AggregateError) return systemCode(error.errors[0]);
  return systemCode(error.cause);
}
