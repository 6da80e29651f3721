import type { Figure } from '../../documents/history.ts';
import type { Outcome } from './outcome.ts';

const SUFFIXES: Readonly<Record<Figure['unit'], string>> = {
  ms: '_seconds',
  share: '_share',
  per_second: '_per_second',
  ratio: '_ratio',
  count: '_count',
};

/** An outcome as OpenMetrics text: gauges in base units, as the metrics report of GitLab shows them beside a merge request. */
export function openMetrics({ test, command, figures, cases }: Outcome): string {
  const labels = `{test="${labelValue(test)}"}`;
  const gauge = (name: string, value: number) => [`# TYPE ${name} gauge`, `${name}${labels} ${value}`];
  const count = (result: string) => cases.filter((each) => each.result === result).length;
  return [
    ...figures.flatMap(({ name, unit, value }) =>
      gauge(metricName(command, name, unit), unit === 'ms' ? value / 1e3 : value),
    ),
    ...gauge(`reprise_${command}_failed_checks`, count('failed')),
    ...gauge(`reprise_${command}_undecided_checks`, count('undecided')),
    '# EOF',
    '',
  ].join('\n');
}

function metricName(command: string, name: string, unit: Figure['unit']): string {
  return `reprise_${command}_${name.replace(/\W/g, '_')}${SUFFIXES[unit]}`;
}

/** OpenMetrics has three escapes. */
function labelValue(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
