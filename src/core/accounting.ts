/**
 * The words of the equation: seen = recorded + lost(reason) + omitted(cause) + pending, in bytes and in turns.
 * Both lists are closed; a new reason is a change of the capture format.
 */
export const LOSS_REASONS = [
  'queue_bytes',
  'queue_age',
  'body_budget',
  'disk_full',
  'disk_reserve',
  'quota',
  'io_error',
  'corrupt',
  'locked',
  'writer_down',
  'writer_hung',
  'redaction_failed',
  'encode_failed',
  'crash_gap',
  'shutdown_timeout',
  'tap_failed',
] as const;
export type LossReason = (typeof LOSS_REASONS)[number];

export const OMISSION_CAUSES = ['sampled_out', 'skip_rule', 'replay_marked', 'unparsed'] as const;
export type OmissionCause = (typeof OMISSION_CAUSES)[number];

/** An amount of traffic. `exchanges` is a lower bound where bytes were never parsed. */
export interface Amount {
  readonly exchanges: number;
  readonly bytes: number;
}

/** What connections of one protocol carried, counted when they close. */
export interface ProtocolUse {
  readonly protocol: string;
  readonly connections: number;
  readonly bytes: number;
}
