import { z } from 'zod';
import { count, type Immutable, maybeNumber, maybeText } from './parts.ts';

const afterStep = maybeNumber;

const loadStep = z.object({
  atS: z.number().describe('After the start of the run.'),
  direction: z.enum(['up', 'down']),
  offeredBefore: z.number().describe('Requests a second, counted when they were due.'),
  offeredAfter: z.number(),
  desiredS: afterStep.describe('Seconds after the load step until another number of replicas was desired.'),
  readyFirstS: afterStep.describe('Until the first replica was ready more, or less.'),
  readyS: afterStep.describe('Until all that were desired were ready; of a step down, the scale-down delay.'),
  newAddressS: afterStep.describe('Until the first request went to an address that had none before.'),
  objective: z
    .enum(['kept', 'met_again', 'not_met', 'unknown'])
    .describe('Whether objectives held in every second up to the next step; `unknown` without one.'),
  objectiveMetS: afterStep.describe(
    'Until the end of the last second that violated one; null unless `met_again`.',
  ),
  violatedS: count.describe('Seconds in which objectives were violated, up to the next step.'),
});
export type LoadStep = Immutable<z.infer<typeof loadStep>>;

const provisioning = z.object({
  accuracyPercent: z
    .number()
    .describe('Mean of the replicas that were missing, or too many, over those needed.'),
  timesharePercent: z.number().describe('Share of time with too few, or too many.'),
});

const elasticity = z
  .object({
    ratePerReplica: z
      .number()
      .describe('Requests a second that one replica carries, by the capacity document.'),
    windowS: z.number().describe('Load and replicas are compared in windows of this length.'),
    knownS: z.number().describe('Time with a known number of replicas: what the figures are of.'),
    under: provisioning,
    over: provisioning,
    instabilityPercent: z.number().describe('Share of time in which replicas moved otherwise than the load.'),
    replicaSeconds: z.object({
      supplied: z.number(),
      needed: z.number().describe('By a perfect scaler, which has one replica at least.'),
      overPerfect: z
        .number()
        .describe('Supplied beyond what was needed at that time; missing ones save nothing.'),
    }),
  })
  .describe('Elasticity by the metrics of the SPEC Research Group, against the demand curve of `capacity`.');
export type ElasticityFigures = Immutable<z.infer<typeof elasticity>>;

export const autoscaling = z
  .object({
    ready: z.string().describe('The series that counts ready replicas, and its source.'),
    desired: maybeText,
    intervalS: z.number().describe('Between two readings: no instant is known better.'),
    readyReplicas: z.object({ first: z.number(), min: z.number(), max: z.number(), last: z.number() }),
    steps: z.array(loadStep),
    violatedS: count.nullable().describe('Seconds in which an objective was violated; null without one.'),
    elasticity: elasticity.nullable().describe('Null without `--capacity`.'),
  })
  .describe('How the autoscaler followed the load.');
export type AutoscalingDocument = Immutable<z.infer<typeof autoscaling>>;

/** The fields that are read from a document of `capacity`: the load that its replicas carry. */
export const capacityOfReplicas = z.object({
  kind: z.literal('capacity'),
  breakingPoint: z.object({ passes: z.object({ ratePerSecond: z.number().positive() }) }),
  sizing: z.object({ replicas: z.number().positive() }),
  forecast: z.unknown().optional(),
});
