/* SPDX-License-Identifier: Apache-2.0 */
/* Style sheets and the script of the page. Blue and orange stay apart for every kind of colour vision, and words or places say
 * the same again. On paper the colours of the light page hold, and tables, charts and pictures are not cut. */
#include "report_internal.h"

static const char style[] =
    ":root{color-scheme:light dark;--bg:#f6f6f3;--card:#fff;--ink:#1d2023;--soft:#5d6369;--line:#dcdcd6;"
    "--normal:#2b6cb0;--bad:#c2410c;--warn:#fff4d6;--warnline:#e0b84a;--code:#eeeeea}\n"
    "@media screen and (prefers-color-scheme:dark){:root{--bg:#141618;--card:#1e2124;--ink:#e8e8e4;--soft:#a0a6ac;"
    "--line:#34383d;"
    "--normal:#6aaaf0;--bad:#f0844c;--warn:#3a300f;--warnline:#8a6d1c;--code:#16181a}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);"
    "font:16px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,\"DejaVu Sans\",sans-serif}\n"
    "main{max-width:1320px;margin:0 auto;padding:24px 20px 60px}h1{font-size:1.75rem;line-height:1.2;margin:.2em 0;"
    "overflow-wrap:anywhere}"
    "h2{font-size:1.2rem;margin:2em 0 .6em}h3{font-size:1.05rem;margin:1.6em 0 .6em}p{max-width:75ch;margin:.5em 0}\n"
    ".soft{color:var(--soft)}.card{background:var(--card);border:1px solid var(--line);border-radius:10px;"
    "padding:14px 16px}.warn{background:var(--warn);border-color:var(--warnline);margin:1em 0;max-width:calc(75ch + "
    "34px);overflow-wrap:anywhere}\n"
    "dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(190px,1fr));gap:10px 24px;margin:0}"
    "dt{color:var(--soft);font-size:.82rem}dd{margin:0;overflow-wrap:anywhere}\n"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th,td{padding:5px 18px 5px 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}"
    "th{font-weight:600;font-size:.85rem;color:var(--soft)}th:first-child,td:first-child{text-align:left}"
    "tbody th,tfoot th{color:var(--ink);font-size:1rem;font-weight:400}\n"
    "svg{display:block;width:100%;max-width:600px;height:auto}\n"
    ".key{display:flex;flex-wrap:wrap;gap:6px 22px;align-items:center;font-size:.88rem;color:var(--soft);margin:.4em 0 "
    "1em;max-width:none}"
    ".dot{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em;vertical-align:-.06em;"
    "print-color-adjust:exact;-webkit-print-color-adjust:exact}\n"
    "figure{margin:0;padding:10px}figcaption{font-size:.84rem;margin-top:8px;overflow-wrap:anywhere}\n"
    "pre{background:var(--code);border:1px solid var(--line);border-radius:6px;padding:8px 12px;margin:.4em 0 1em;"
    "overflow-x:auto;font:13px/1.5 ui-monospace,Menlo,Consolas,\"DejaVu Sans Mono\",monospace}ol{padding-left:1.4em}"
    "li>p{margin:.2em 0}\n"
    "@media print{body{background:none;font-size:10.5pt}main{padding:0;max-width:none}"
    "figure,.card,pre,tr{break-inside:avoid}h2,h3{break-after:avoid}thead{display:table-header-group}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere}.card{border-color:#bbb}}\n";

static const char own_style[] =
    "nav{display:flex;flex-wrap:wrap;gap:2px 18px;margin:.8em 0 1em;font-size:.92rem}a{color:var(--normal)}"
    "h2[id]{scroll-margin-top:12px}main>h2{border-top:1px solid var(--line);padding-top:1em}"
    ":focus-visible{outline:2px solid var(--normal);outline-offset:2px}\n"
    ".two{display:flex;flex-wrap:wrap;gap:14px;align-items:flex-start}.two>*{max-width:100%}.two .side{flex:1 1 380px;"
    "max-width:560px}.two .narrow{max-width:420px}.narrow td,.narrow th{padding-right:13px}.strips "
    "p{font-size:.85rem;margin:0}.two h3,.card>h3{"
    "margin:0 0 .4em;font-size:1rem;overflow-wrap:anywhere}.two p{font-size:.88rem;max-width:58ch}\n"
    "td b{font-weight:600}td "
    "small,.ci{display:block;font-weight:400;font-size:.78rem;color:var(--soft);line-height:1.25}.ci{display:"
    "inline}.undef{color:var(--soft);font-style:italic}.what{display:block;white-space:normal;color:var(--soft);"
    "font-size:.8rem;max-width:44ch;line-height:1.3}tbody tr:last-child>*{border-bottom:0}"
    "tfoot tr:first-child>*{border-top:2px solid var(--line)}tfoot th,tfoot td{font-weight:600}"
    "tfoot tr:last-child>*{border-bottom:0}th:last-child,td:last-child{padding-right:2px}"
    "table.wide th,table.wide td{padding-right:10px}table.wide thead th{vertical-align:bottom;white-space:normal;"
    "line-height:1.25}"
    "th[aria-sort] button{font:inherit;color:inherit;background:none;border:0;padding:4px 0;margin:0;cursor:pointer;"
    "text-align:inherit;text-decoration:underline dotted;text-underline-offset:3px}"
    "th[aria-sort=ascending] button::after{content:' \\2191'}th[aria-sort=descending] button::after{content:' \\2193'}"
    ".sticky th:first-child{position:sticky;left:0;background:var(--card);z-index:1;"
    "padding-right:14px;white-space:normal;min-width:7em;max-width:14em;overflow-wrap:anywhere}"
    ".conf td,.conf th{text-align:left;padding-right:20px}.conf .ci{display:block;white-space:nowrap}.conf "
    ".err{color:var(--bad);font-weight:600}\n"
    ".strips{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr));gap:14px}"
    ".charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr));gap:14px}"
    ".charts .pair2{display:flex;gap:10px}.charts .pair2 svg{flex:1 1 0;min-width:0;max-width:290px}"
    "svg text{fill:var(--soft);font-size:11px}svg .v{fill:var(--ink);font-weight:600}.n{fill:var(--normal)}"
    ".b{fill:var(--bad)}.u{fill:var(--soft)}.axis{stroke:var(--soft);stroke-width:1;fill:none}"
    ".cut{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:4 3}"
    ".curve,.ref,.chance,.gridline{fill:none;vector-effect:non-scaling-stroke;stroke-linejoin:round}"
    ".curve{stroke:var(--normal);stroke-width:2.2}.ref{stroke:var(--soft);stroke-width:1.2;stroke-dasharray:5 3}"
    ".chance{stroke:var(--soft);stroke-width:1;stroke-dasharray:1 4}.gridline{stroke:var(--line)}"
    ".mark{fill:var(--card);stroke:var(--bad);stroke-width:2.2}"
    ".key svg{display:inline-block;width:30px;height:10px;margin-right:.4em;vertical-align:-.02em}"
    ".ramp{display:inline-block;width:150px;height:.9em;border-radius:3px;vertical-align:-.1em;margin:0 .4em;"
    "print-color-adjust:exact;-webkit-print-color-adjust:exact}\n"
    ".tools{display:flex;flex-wrap:wrap;gap:8px 22px;margin:0 0 1em}.tools[hidden]{display:none}select{font:inherit;"
    "padding:2px 6px;max-width:100%}input{width:1.05em;height:1.05em;vertical-align:-.12em}\n"
    ".grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr));gap:14px}"
    ".grid.far{grid-template-columns:repeat(auto-fill,minmax(min(100%,400px),1fr))}"
    "section .grid figure{content-visibility:auto;contain-intrinsic-size:auto 220px}"
    "figure[hidden],section[hidden]{display:none}.wrong{border-color:var(--bad);"
    "box-shadow:0 0 0 1px var(--bad)}.pair{display:flex;gap:6px;align-items:flex-start}.pair img{flex:1 1 0;"
    "min-width:0;width:50%;height:auto;border-radius:5px;background:var(--code)}.pair img:only-child{flex:0 1 auto;"
    "width:auto;max-width:100%}.pair .none{flex:1 1 0;align-self:stretch;display:grid;place-items:center;"
    "text-align:center;font-size:.8rem;color:var(--soft);border:1px dashed var(--line);border-radius:5px;padding:4px}"
    ".heads{display:flex;gap:6px;font-size:.78rem;color:var(--soft);margin-bottom:3px}.heads span{flex:1 1 0}\n"
    ".score{float:right;font-weight:600;font-variant-numeric:tabular-nums;margin-left:8px}.tag{font-weight:600}"
    ".tag.n{color:var(--normal)}.tag.b{color:var(--bad)}.paper{display:none}"
    "dl.prov{grid-template-columns:minmax(9em,max-content) 1fr;gap:6px 20px}dl.prov>div{display:contents}"
    "dl.prov dt{font-size:.9rem}dl.prov dd{font-size:.9rem}dl.prov code{font:12.5px ui-monospace,Menlo,Consolas,"
    "\"DejaVu Sans Mono\",monospace}dl.prov dd.cmd{background:var(--code);padding:6px 10px;border-radius:6px}\n"
    "@media(max-width:520px){svg text{font-size:12.5px}main{padding:16px 12px "
    "40px}h1{font-size:1.4rem}.card{padding:11px 12px}.what{display:"
    "none}th,td{padding-right:9px}.two>*{width:100%}.conf td,.conf th{padding-right:10px;white-space:normal}"
    "dl.prov{grid-template-columns:1fr;gap:1px}dl.prov dd{margin-bottom:8px}dl{grid-template-columns:1fr 1fr}}\n"
    "@media print{.tools,nav{display:none}.paper{display:block}section .grid figure{content-visibility:visible}"
    "section .grid figure:nth-child(n+13){display:none}.scroll{overflow:visible}table.wide{font-size:7.5pt}"
    "table.wide th,table.wide td{padding:3px 5px 3px 0;font-size:7.5pt}table.wide small{font-size:6pt}"
    "table.wide thead th{white-space:normal}.sticky "
    "th:first-child{position:static;min-width:7em}th[aria-sort] "
    "button{padding:0;text-decoration:none}.two{display:block}.two>.card{margin-bottom:10px}"
    ".what{font-size:7.5pt;max-width:none}.two th,.two td{padding-top:2px;padding-bottom:2px}.two "
    "p{max-width:none}.key,.heads{break-after:avoid}.grid{grid-template-columns:repeat(3,1fr);gap:8px}.grid.far,."
    "charts,.strips{"
    "grid-template-columns:1fr 1fr;gap:8px}figure{padding:7px}.wrong{box-shadow:none;border-width:2px}}\n";

/* Without it every number and picture is there all the same, only unsorted and unfiltered. */
static const char script[] =
    "(function(){var "
    "t=document.getElementById('tools'),c=document.getElementById('cat'),w=document.getElementById('wrong'),"
    "o=document.getElementById('count');if(t){t.hidden=false;function f(){var n=0;"
    "document.querySelectorAll('section[data-cat]').forEach(function(s){var "
    "k=0,on=!c||c.value===''||s.dataset.cat===c.value;"
    "s.querySelectorAll('figure').forEach(function(i){var v=on&&(!w||!w.checked||i.classList.contains('wrong'));"
    "i.hidden=!v;if(v)k++});s.hidden=!k;n+=k});o.textContent=n+(n===1?' picture':' pictures')}"
    "if(c)c.onchange=f;if(w)w.onchange=f;f()}\n"
    "document.querySelectorAll('table.sort').forEach(function(b){var body=b.tBodies[0],heads=b.tHead.rows[0].cells;"
    "if(body.rows.length<2)return;"
    "function key(r,i){var e=r.cells[i];return e.dataset.v===undefined?e.textContent:+e.dataset.v}"
    "Array.prototype.forEach.call(heads,function(h,i){var q=document.createElement('button');q.type='button';"
    "q.textContent=h.textContent;h.textContent='';h.appendChild(q);h.setAttribute('aria-sort','none');"
    "q.onclick=function(){var up=h.getAttribute('aria-sort')==='none'?i===0:h.getAttribute('aria-sort')!=='ascending';"
    "Array.prototype.forEach.call(heads,function(g){g.setAttribute('aria-sort','none')});"
    "h.setAttribute('aria-sort',up?'ascending':'descending');"
    "Array.prototype.slice.call(body.rows).sort(function(x,y){var a=key(x,i),d=key(y,i),m=a!==a,n=d!==d;"
    "if(m||n)return m-n;var s=a<d?-1:a>d?1:0;return up?s:-s}).forEach(function(r){body.appendChild(r)})}})})})();";

const char *report_style(void)
{
    return style;
}

const char *report_own_style(void)
{
    return own_style;
}

const char *report_script(void)
{
    return script;
}
