/* SPDX-License-Identifier: Apache-2.0 */
/* The paper's Tables 3 to 7: lines, figures as printed, and the switches that each line stands for. */
#include "ablate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FIGURES(mvtec, visa)                                                                                           \
    {mvtec, visa},                                                                                                     \
    {                                                                                                                  \
        NULL, NULL                                                                                                     \
    }
#define BOTH_FIGURES(mvtec, visa, mvtec_pixel, visa_pixel)                                                             \
    {mvtec, visa},                                                                                                     \
    {                                                                                                                  \
        mvtec_pixel, visa_pixel                                                                                        \
    }

const ablate_line ablate_lines[] = {
    {3, "baseline", "", "Baseline (SimpleNet)", 0, ABLATE_NONE, "", FIGURES("89.7", "80.0")},
    {3, "plus-confident", "", "+ Confident Learning", ABLATE_SCL, ABLATE_NONE, "", FIGURES("91.8", "81.8")},
    {3, "plus-meta", "", "+ Meta-Learning", ABLATE_SCL | ABLATE_META, ABLATE_NONE, "", FIGURES("92.6", "84.9")},
    {3, "plus-contrastive", "", "+ Contrastive Learning (*CoZAD*)", ABLATE_FULL, ABLATE_NONE, "",
     FIGURES("92.9", "85.3")},

    {4, "full", "", "Full *CoZAD*", ABLATE_FULL, ABLATE_NONE, "", FIGURES("92.9", "85.3")},
    {4, "no-data-uncertainty", "", "w/o Data Uncertainty", ABLATE_FULL, ABLATE_NO_DATA, "", FIGURES("91.4", "83.7")},
    {4, "no-model-uncertainty", "", "w/o Model Uncertainty", ABLATE_FULL, ABLATE_NO_MODEL, "", FIGURES("92.1", "84.5")},
    {4, "no-confident", "", "w/o Confident Learning", ABLATE_META | ABLATE_CONTRAST, ABLATE_NONE, "",
     FIGURES("90.8", "81.2")},
    {4, "hard-cl", "", "Hard CL (remove samples)", ABLATE_FULL, ABLATE_HARD, "", FIGURES("91.6", "83.1")},

    {5, "kappa-0.5", "κ (IQR)", "0.5", ABLATE_FULL, ABLATE_KAPPA, "0.5", FIGURES("91.8", NULL)},
    {5, "kappa-1", "", "1.0", ABLATE_FULL, ABLATE_KAPPA, "1", FIGURES("92.3", NULL)},
    {5, "kappa-1.5", "", "1.5", ABLATE_FULL, ABLATE_KAPPA, "1.5", FIGURES("92.9", NULL)},
    {5, "kappa-2", "", "2.0", ABLATE_FULL, ABLATE_KAPPA, "2", FIGURES("92.1", NULL)},
    {5, "knn-1", "k_nn", "1", ABLATE_FULL, ABLATE_KNN, "1", FIGURES("92.1", NULL)},
    {5, "knn-3", "", "3", ABLATE_FULL, ABLATE_KNN, "3", FIGURES("92.4", NULL)},
    {5, "knn-5", "", "5", ABLATE_FULL, ABLATE_KNN, "5", FIGURES("92.9", NULL)},
    {5, "knn-10", "", "10", ABLATE_FULL, ABLATE_KNN, "10", FIGURES("92.3", NULL)},
    {5, "lambda-cont-0.1", "λ_cont", "0.1", ABLATE_FULL, ABLATE_LAMBDA, "0.1", FIGURES("92.2", NULL)},
    {5, "lambda-cont-0.5", "", "0.5", ABLATE_FULL, ABLATE_LAMBDA, "0.5", FIGURES("92.6", NULL)},
    {5, "lambda-cont-1", "", "1.0", ABLATE_FULL, ABLATE_LAMBDA, "1", FIGURES("92.9", NULL)},
    {5, "lambda-cont-2", "", "2.0", ABLATE_FULL, ABLATE_LAMBDA, "2", FIGURES("92.4", NULL)},

    {6, "layers-1-2", "", "1st + 2nd layers", ABLATE_FULL, ABLATE_TAPS, "layer1,layer2",
     BOTH_FIGURES("91.2", "83.1", "94.8", "94.2")},
    {6, "layers-2-3", "", "2nd + 3rd layers", ABLATE_FULL, ABLATE_TAPS, "layer2,layer3",
     BOTH_FIGURES("92.9", "85.3", "96.3", "95.9")},
    {6, "layers-3-4", "", "3rd + 4th layers", ABLATE_FULL, ABLATE_TAPS, "layer3,layer4",
     BOTH_FIGURES("92.1", "84.7", "95.1", "95.3")},
    {6, "layers-1-4", "", "All layers (1st-4th)", ABLATE_FULL, ABLATE_TAPS, "layer1,layer2,layer3,layer4",
     BOTH_FIGURES("92.3", "84.9", "95.7", "95.6")},

    {7, "baseline", "", "Baseline", 0, ABLATE_NONE, "", FIGURES("89.7", "80.0")},
    {7, "scl", "", "SCL only", ABLATE_SCL, ABLATE_NONE, "", FIGURES("91.8", "81.8")},
    {7, "meta", "", "Meta only", ABLATE_META, ABLATE_NONE, "", FIGURES("90.5", "83.1")},
    {7, "contrast", "", "Contrastive only", ABLATE_CONTRAST, ABLATE_NONE, "", FIGURES("90.1", "80.4")},
    {7, "scl-meta", "", "SCL + Meta", ABLATE_SCL | ABLATE_META, ABLATE_NONE, "", FIGURES("92.6", "84.9")},
    {7, "scl-contrast", "", "SCL + Contrastive", ABLATE_SCL | ABLATE_CONTRAST, ABLATE_NONE, "",
     FIGURES("92.0", "82.1")},
    {7, "meta-contrast", "", "Meta + Contrastive", ABLATE_META | ABLATE_CONTRAST, ABLATE_NONE, "",
     FIGURES("90.8", "83.4")},
    {7, "full", "", "Full CoZAD", ABLATE_FULL, ABLATE_NONE, "", FIGURES("92.9", "85.3")},
};
const size_t ablate_line_count = sizeof ablate_lines / sizeof *ablate_lines;
_Static_assert(sizeof ablate_lines / sizeof *ablate_lines <= ABLATE_MOST_ROWS, "row_of is too short");

const char *ablate_caption(int table)
{
    static const char *const captions[ABLATE_TABLES] = {
        "Table 3. Component-wise ablation study showing I-AUROC (%).",
        "Table 4. Confident Learning module ablation showing I-AUROC (%).",
        "Table 5. Parameter sensitivity analysis showing I-AUROC (%) on MVTec-AD.",
        "Table 6. Feature layer combination analysis showing I-AUROC/P-AUROC (%).",
        "Table 7. Component interaction analysis showing I-AUROC (%)."};
    return captions[table - ABLATE_FIRST_TABLE];
}

/* What train's option and the row's key are called. */
static const char *change_name(ablate_change change)
{
    static const char *const names[] = {
        "", "no-data-uncertainty", "no-model-uncertainty", "hard-cl", "kappa", "knn", "lambda-cont", "taps"};
    return names[change];
}

static bool same_as_base(const ablate_line *line, const ablate_base *base)
{
    const double value = line->value[0] != '\0' && line->change != ABLATE_TAPS ? strtod(line->value, NULL) : NAN;
    switch (line->change) {
    case ABLATE_NONE:
        return true;
    case ABLATE_KAPPA:
        return value == base->kappa;
    case ABLATE_KNN:
        return value == base->knn;
    case ABLATE_LAMBDA:
        return value == base->lambda_cont;
    case ABLATE_TAPS:
        return strcmp(line->value, base->taps) == 0;
    default:
        return false;
    }
}

static void make_key(const ablate_line *line, bool changed, char key[64])
{
    if (changed) { /* all changes are made to the full method */
        (void)snprintf(key, 64, "%s%s%s", change_name(line->change), line->value[0] != '\0' ? "-" : "", line->value);
        for (char *p = key; *p != '\0'; p++) {
            if (*p == ',') *p = '-';
        }
    } else if (line->parts == 0 || line->parts == ABLATE_FULL) {
        (void)snprintf(key, 64, "%s", line->parts == 0 ? "baseline" : "full");
    } else {
        const char *first = (line->parts & ABLATE_SCL) != 0 ? "scl" : (line->parts & ABLATE_META) != 0 ? "meta" : "";
        const char *second = (line->parts & ABLATE_CONTRAST) != 0        ? "contrast"
                             : line->parts == (ABLATE_SCL | ABLATE_META) ? "meta"
                                                                         : "";
        (void)snprintf(key, 64, "%s%s%s", first, first[0] != '\0' && second[0] != '\0' ? "-" : "", second);
    }
}

static const char *on(bool yes)
{
    return yes ? "on" : "off";
}

/* Every component is named, so that a row means the same whatever train's defaults become. */
static json_t *make_switches(const ablate_line *line, bool changed)
{
    const bool scl = (line->parts & ABLATE_SCL) != 0;
    const ablate_change change = changed ? line->change : ABLATE_NONE;
    json_t *words = json_pack("[s,s,s,s,s,s]", "--scl", on(scl), "--meta", on((line->parts & ABLATE_META) != 0),
                              "--contrast", on((line->parts & ABLATE_CONTRAST) != 0));
    json_t *more = NULL;
    if (scl) {
        more = json_pack("[s,s,s,s]", "--data-uncertainty", on(change != ABLATE_NO_DATA), "--model-uncertainty",
                         on(change != ABLATE_NO_MODEL));
        (void)json_array_extend(words, more);
        json_decref(more);
    }
    if (change == ABLATE_HARD) (void)json_array_append_new(words, json_string("--hard-cl"));
    if (change >= ABLATE_KAPPA) {
        (void)json_array_append_new(words, json_sprintf("--%s", change_name(change)));
        (void)json_array_append_new(words, json_string(line->value));
    }
    return words;
}

static size_t find_row(const ablate_plan *plan, const char *key)
{
    size_t i = 0;
    while (i < plan->count && strcmp(plan->rows[i].key, key) != 0) i++;
    return i;
}

/* One word of --rows: tableN, tableN:LINE or a row's key. False: unknown. */
static bool choose(ablate_plan *plan, const char *word, size_t length)
{
    bool found = false;
    for (size_t i = 0; i < ablate_line_count; i++) {
        const ablate_line *line = &ablate_lines[i];
        ablate_row *row = &plan->rows[plan->row_of[i]];
        char table[16], with_name[96], with_key[96];
        const char *const texts[] = {table, with_name, with_key, row->key};
        (void)snprintf(table, sizeof table, "table%d", line->table);
        (void)snprintf(with_name, sizeof with_name, "%s:%s", table, line->name);
        (void)snprintf(with_key, sizeof with_key, "%s:%s", table, row->key);
        for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
            if (strlen(texts[t]) != length || strncmp(texts[t], word, length) != 0) continue;
            row->chosen = true;
            plan->shown[line->table - ABLATE_FIRST_TABLE] = true;
            found = true;
        }
    }
    return found;
}

int ablate_plan_make(ablate_plan *plan, const ablate_base *base, const char *rows)
{
    for (size_t i = 0; i < ablate_line_count; i++) {
        const ablate_line *line = &ablate_lines[i];
        const bool changed = !same_as_base(line, base);
        char key[64];
        make_key(line, changed, key);
        const size_t at = find_row(plan, key);
        if (at == plan->count) {
            ablate_row *row = &plan->rows[plan->count++];
            memcpy(row->key, key, sizeof key);
            row->switches = make_switches(line, changed);
            row->taps = changed && line->change == ABLATE_TAPS ? line->value : NULL;
            if (row->switches == NULL) {
                cli_error("out of memory");
                return CLI_RESOURCES;
            }
        }
        plan->row_of[i] = at;
    }
    bool any = false;
    for (const char *p = rows; *p != '\0';) {
        const size_t length = strcspn(p, ",");
        if (length > 0 && !choose(plan, p, length)) {
            cli_error("--rows: \"%.*s\" is no table (table3 … table7), no line of one (table3:baseline) and no row; "
                      "see 'cozad ablate --help'",
                      (int)(length < 60 ? length : 60), p);
            return CLI_USAGE;
        }
        any = any || length > 0;
        p += length + (p[length] == ',' ? 1 : 0);
    }
    if (!any) {
        cli_error("--rows names no row");
        return CLI_USAGE;
    }
    return CLI_OK;
}

void ablate_plan_free(ablate_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) json_decref(plan->rows[i].switches);
    plan->count = 0;
}
