import { AppError } from '../core/errors.ts';
import { grouped, listOf, type ResolvedOptions, value } from '../core/options.ts';
import { refused } from '../core/units.ts';
import type { Labels } from '../documents/parts.ts';

/** Labels that CI systems set, and the variables that they use. The first one that is set counts. */
const CI_VARIABLES: Readonly<Record<string, readonly string[]>> = {
  commit: [
    'GITHUB_SHA',
    'CI_COMMIT_SHA',
    'GIT_COMMIT',
    'BUILD_SOURCEVERSION',
    'BUILDKITE_COMMIT',
    'CIRCLE_SHA1',
    'BITBUCKET_COMMIT',
    'DRONE_COMMIT_SHA',
  ],
  branch: [
    'GITHUB_REF_NAME',
    'CI_COMMIT_REF_NAME',
    'BRANCH_NAME',
    'BUILD_SOURCEBRANCHNAME',
    'BUILDKITE_BRANCH',
    'CIRCLE_BRANCH',
    'BITBUCKET_BRANCH',
    'DRONE_BRANCH',
  ],
};

const MOST_LABELS = 20;
const LONGEST_VALUE = 200;
/** Labels of a Prometheus series that belong to the run, and those that Prometheus sets itself. */
const TAKEN: ReadonlySet<string> = new Set(['job', 'instance', 'test', 'le', 'quantile', 'capture_digest']);

export const LABEL_OPTIONS = grouped('The build that serves', {
  build: value(
    '--build <label>',
    'the build that serves, such as v1.4.2; the same as --label build=…',
    parseValue,
  ),
  label: listOf(
    '--label <name=value>',
    'a fact about what serves, such as model=v7 or image=sha256:…; commit and branch are read from the variables of CI',
    parseLabel,
  ),
});

/**
 * The labels of what serves: those that were given, and those that CI sets.
 * @throws AppError OPTION_INVALID for a label that was given twice, or for too many
 */
export function labelsOf(
  { build, label }: ResolvedOptions<typeof LABEL_OPTIONS>,
  environment: NodeJS.ProcessEnv,
): Labels {
  const given = [...(build === null ? [] : [['build', build] as const]), ...label];
  const twice = given.find(([name], at) => given.findIndex(([other]) => other === name) < at);
  if (twice !== undefined) {
    const hint = twice[0] === 'build' ? '--build LABEL is the same as --label build=LABEL.' : 'Give it once.';
    throw new AppError('OPTION_INVALID', `--label: ${twice[0]} is given twice`, { hint });
  }
  if (given.length > MOST_LABELS) {
    throw new AppError('OPTION_INVALID', `--label: ${given.length} labels are more than ${MOST_LABELS}`);
  }
  const ofCi = Object.entries(CI_VARIABLES).flatMap(([name, variables]) => {
    const found = variables.map((variable) => environment[variable]).find((each) => each && isValue(each));
    return found === undefined ? [] : [[name, found] as const];
  });
  return Object.fromEntries([...ofCi, ...given]);
}

/** The labels that all have with the same value. Undefined if the first has none: it is of an earlier version. */
export function commonLabels([first, ...others]: readonly (Labels | undefined)[]): Labels | undefined {
  if (first === undefined) return undefined;
  const common = Object.entries(first).filter(([name, each]) =>
    others.every((labels) => labels?.[name] === each),
  );
  return Object.fromEntries(common);
}

function parseLabel(given: string, what: string): readonly [name: string, value: string] {
  const [, name = '', rest = ''] = /^([^=]*)=(.*)$/s.exec(given) ?? [];
  // Such a name is valid as a label of Prometheus, a tag of MLflow and an attribute of OpenTelemetry.
  if (!/^[a-z][a-z0-9_]{0,39}$/.test(name) || TAKEN.has(name)) {
    const why = TAKEN.has(name) ? `has a name that is taken: ${name}` : 'is not NAME=VALUE';
    throw refused(what, given, why, 'A name has lower-case letters, digits and _, such as model=v7.');
  }
  return [name, parseValue(rest, what)];
}

function parseValue(given: string, what: string): string {
  if (isValue(given)) return given;
  throw refused(
    what,
    given,
    'is no label',
    `Give 1 to ${LONGEST_VALUE} characters without line breaks, such as v1.4.2.`,
  );
}

function isValue(text: string): boolean {
  return text.trim() !== '' && text.length <= LONGEST_VALUE && !/\p{Cc}/u.test(text) && text.isWellFormed();
}
