import { z } from 'zod';

/** A time, RFC 3339. */
export const timestamp = z.string().meta({ format: 'date-time' });

/** A condition as Kubernetes' own kinds have it (`metav1.Condition`). */
export const condition = z
  .object({
    type: z.string().min(1).max(316).meta({ description: 'What the condition is about, in CamelCase.' }),
    status: z.enum(['True', 'False', 'Unknown']).meta({ description: 'Whether the condition holds.' }),
    reason: z
      .string()
      .min(1)
      .max(1024)
      .regex(/^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$/)
      .meta({ description: 'Why the status is what it is, as one stable CamelCase word.' }),
    message: z
      .string()
      .max(32768)
      .meta({ description: 'The same for a person to read, with what to do when something is to be done.' }),
    observedGeneration: z
      .int()
      .min(0)
      .optional()
      .meta({ description: 'The metadata.generation this condition was decided from.' }),
    lastTransitionTime: timestamp.meta({ description: 'When status last changed.' }),
  })
  .meta({ description: 'One condition of the object.' });

/** A list of conditions, one a type, that several writers can apply to side by side. */
export const conditions = z
  .array(condition)
  .max(32)
  .meta({ 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] });
