/** The looks of the live page: light and dark, and one column where there is no room for more. */
export const LIVE_STYLE = `
:root { color-scheme: light dark; --ink: #1c2733; --soft: #5b6b7b; --paper: #fff; --card: #f3f6f8; --line: #d9e0e6; --good: #1a7f4b; --warn: #a15c00; --bad: #b3261e; --mark: #0b6bcb; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9fb0c0; --paper: #10161d; --card: #1a232d; --line: #2c3947; --good: #5bd08f; --warn: #f0b35b; --bad: #ff8a80; --mark: #6bb4ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.25rem; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.25rem; margin: 0; }
h2 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .25rem 0; color: var(--soft); overflow-wrap: anywhere; }
.badge { display: inline-block; padding: .1rem .6rem; border-radius: 1rem; font-weight: 600; border: 1px solid currentcolor; color: var(--warn); }
[data-state=HEALTHY] .badge { color: var(--good); }
[data-state=OFF] .badge, [data-state=GONE] .badge { color: var(--bad); }
header { display: flex; flex-wrap: wrap; gap: .75rem; align-items: center; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.facts div { background: var(--card); border-radius: .5rem; padding: .6rem .8rem; }
.facts dt { color: var(--soft); font-size: .85rem; }
.facts dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
figure { margin: 0; background: var(--card); border-radius: .5rem; padding: .6rem .8rem; }
figcaption { color: var(--soft); font-size: .85rem; }
svg { display: block; width: 100%; height: 7.5rem; }
polyline { fill: none; stroke: var(--mark); stroke-width: 2; vector-effect: non-scaling-stroke; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; font-size: .85rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 0 2rem; }
`;
