/** A kind of test. Every key is an option of its command, as in a scenario file. */
interface ScenarioPreset {
  /** The question that the test answers. */
  readonly asks: string;
  /** Default: replay. */
  readonly command?: string;
  /** The part of the capture and the duration, unless the scenario states them. */
  readonly window: Readonly<Record<string, unknown>>;
  /** A setting without a default, which the scenario must state. */
  readonly needs?: string;
  /**
   * An additional objective for scenarios without a limit of mismatches. Without one, compared answers have no effect
   * on the verdict.
   */
  readonly mismatch?: string;
  readonly settings: Readonly<Record<string, unknown>>;
}

/** The default objective, because without one there is no verdict. */
const SLO = ['errors: rate<0.01'];

/** The usual kinds of tests before a launch. */
export const SCENARIO_PRESETS = {
  sustained: {
    asks: 'Does the target carry the busiest half hour, for as long as it lasted?',
    window: { window: 'peak=30m', duration: '30m' },
    settings: { warmup: '1m', slo: SLO },
  },
  spike: {
    asks: 'Does the target survive a minute of four times the load, and recover?',
    window: { window: 'peak=15m' },
    settings: { stages: '5m@1x,1m@4x,5m@1x', duration: '11m', slo: SLO },
  },
  soak: {
    asks: 'Does anything grow, leak or slow down over a working day?',
    window: {},
    settings: { duration: '8h', slo: SLO },
  },
  'dependency-outage': {
    asks: 'What do users see while a dependency fails, and how soon is it over?',
    window: { window: 'peak=10m', duration: '10m' },
    needs: 'faults',
    settings: { slo: SLO },
  },
  capacity: {
    asks: 'How many times the recorded traffic does the target carry, and which objective fails first?',
    command: 'capacity',
    window: { window: 'peak=10m' },
    settings: { budget: '30m', slo: SLO },
  },
  statement: {
    asks: 'What does the target hold of the recorded traffic, where does it break, and how sure is that?',
    command: 'statement',
    window: { window: 'hardest' },
    settings: { budget: '1h', slo: SLO },
  },
  'release-gate': {
    asks: 'Does the new build answer as well as recorded, at the load that production had?',
    window: { window: 'peak=10m', duration: '10m' },
    mismatch: 'mismatch: rate<0.01',
    settings: { 'compare-at-1x': true, check: 'shape', slo: SLO },
  },
} as const satisfies Readonly<Record<string, ScenarioPreset>>;
export type PresetName = keyof typeof SCENARIO_PRESETS;
