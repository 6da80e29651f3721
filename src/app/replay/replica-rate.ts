import { readFileSync } from 'node:fs';
import { AppError, reasonOf } from '../../core/errors.ts';
import { capacityOfReplicas } from '../../documents/autoscaling.ts';

/**
 * Reads the capacity of one replica from a document of `capacity --json`: its largest passing load divided by its
 * replicas.
 * @returns requests per second
 * @throws AppError OPTION_INVALID for an invalid file, or one without a passing load
 */
export function ratePerReplicaOf(file: string): number {
  const invalid = (why: string) =>
    new AppError('OPTION_INVALID', `--capacity: ${file} ${why}`, {
      hint: 'Give a file written by: reprise capacity CAPTURE --target URL --json.',
    });
  let read: unknown;
  try {
    read = JSON.parse(readFileSync(file, 'utf8'));
  } catch (thrown) {
    throw invalid(`cannot be read: ${reasonOf(thrown)}`);
  }
  const { data, error } = capacityOfReplicas.safeParse(read);
  if (data === undefined) {
    const [issue] = error.issues;
    throw invalid(
      `is no document of capacity with a load that passes: ${issue?.path.join('.')}: ${issue?.message}`,
    );
  }
  if (data.forecast !== undefined) throw invalid('is a forecast (--simulate): no replica was measured');
  return data.breakingPoint.passes.ratePerSecond / data.sizing.replicas;
}
