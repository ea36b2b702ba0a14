/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of pictures: what is read and what is refused. */
#include "dataset_tree.h"

static void csv(void **state)
{
    (void)state;
    static const char table[] = "\xef\xbb\xbfmask, Path ,extra,label,SPLIT,category\r\n"
                                ",./a//b.png,x,0,train,nut\r\n"
                                "\r\n"
                                "\"m,1.png\",\"c, \"\"d\"\".png\",\"two\r\nlines\",1,test,nut\r\n"
                                ",e.png,,,,\n"
                                ",f.png,,0,Val,screw";
    write_bytes("c/manifest.csv", table, sizeof table - 1);
    check_both("c", "csv",
               "~ a -1 ~ e.png\nnut r 0 good a/b.png\nnut t 1 ~ c, \"d\".png<m,1.png\nscrew v 0 good f.png\n");
    cz_dataset *d = NULL;
    assert_int_equal(cz_dataset_open(below("c"), NULL, &d), CZ_OK);
    assert_int_equal(cz_dataset_categories(d), 3);
    assert_string_equal(cz_dataset_category(d, 2), "screw");
    assert_null(cz_dataset_category(d, 3));
    cz_dataset_close(d);
    assert_int_equal(cz_dataset_open_manifest(below("c/manifest.csv"), &d), CZ_OK);
    assert_int_equal(cz_dataset_count(d), 4);
    cz_dataset_close(d);
    /* split.csv before manifest.csv; a path alone is enough, a row of one empty field is no row */
    write_bytes("c/split.csv", "path\nx.png\n\n\n", 13);
    check("c", NULL, "csv", "~ a -1 ~ x.png\n");
    write_bytes("c/split.csv", "path\n", 5);
    check("c", NULL, "csv", "");
}

static void bad_csv(const char *bytes, size_t size, cz_status status, const char *reason)
{
    write_bytes("c/split.csv", bytes, size);
    refused("c", "csv", status, reason);
}
#define BAD_CSV(text, reason) bad_csv(text, sizeof(text) - 1, CZ_E_FORMAT, reason)

static void hostile_csv(void **state)
{
    (void)state;
    BAD_CSV("", "is empty");
    BAD_CSV("\n\n", "is empty");
    BAD_CSV("name,label\nx,0\n", "split.csv:1: there is no column \"path\"");
    BAD_CSV("path;label\nx;0\n", "separated by commas");
    BAD_CSV("path,path\na,b\n", "is there twice");
    BAD_CSV("path\n../x.png\n", "split.csv:2: \"../x.png\" leaves its folder");
    BAD_CSV("path\na/../../x.png\n", "leaves its folder");
    BAD_CSV("path\na/..\n", "leaves its folder");
    BAD_CSV("path\n/etc/passwd\n", "leaves its folder");
    BAD_CSV("path,mask\na.png,../m.png\n", "\"../m.png\" leaves its folder");
    BAD_CSV("path\n./\n", "a path is empty");
    BAD_CSV("path,label\n,0\n", "a path is empty");
    BAD_CSV("path,label\na.png,2\n", "neither 0 nor 1 nor empty");
    BAD_CSV("path,label\na.png,defect\n", "neither 0 nor 1 nor empty");
    BAD_CSV("path,split\na.png,tset\n", "the split \"tset\" is none of");
    BAD_CSV("path,label\na.png,0\nb.png\n", "split.csv:3: the row has 1 fields, the heading 2");
    BAD_CSV("path,label\na.png,0,1\n", "has 3 fields");
    BAD_CSV("path,label\na.png,0\nb.png,1\n./a.png,1\n", "split.csv:4: \"a.png\" is also in line 2");
    BAD_CSV("path\n\"a.png\n", "split.csv:2: a quote is not closed");
    BAD_CSV("path\n\"a\"b\n", "behind a closing quote");
    BAD_CSV("path\na\"b\n", "without quotes has one inside");
    BAD_CSV("path\na\0b\n", "zero byte");
    BAD_CSV("path\n\"a\0b\"\n", "zero byte");
    BAD_CSV("\xff\xfep\0a\0", "UTF-16");
    char *big = malloc(100000);
    assert_non_null(big);
    memset(big, 'a', 100000);
    memcpy(big, "path\n", 5);
    bad_csv(big, 100000, CZ_E_LIMIT, "more than 4096 bytes");
    memset(big, ',', 100000);
    bad_csv(big, 100000, CZ_E_LIMIT, "more than 64 fields");
    memcpy(big, "path\n", 5);
    memset(big + 5, 'b', 4096);
    bad_csv(big, 5 + 4096, CZ_E_LIMIT, "too long");
    free(big);
    /* control characters do not reach the message */
    write_bytes("c/split.csv", "path\n../\x1b[31m\n", 14);
    refused("c", NULL, CZ_E_FORMAT, "../?[31m");
}

static void bad_json(const char *text, const char *reason)
{
    write_bytes("j/manifest.jsonl", text, strlen(text));
    refused("j", NULL, CZ_E_FORMAT, reason);
}

static void jsonl(void **state)
{
    (void)state;
    static const char table[] =
        "\xef\xbb\xbf{\"path\": \"a.png\", \"label\": 0, \"split\": \"train\", \"more\": [1]}\r\n"
        "\n"
        "{\"path\": \"b.png\", \"label\": true, \"mask\": [\"m/0.png\", \"m/1.png\"], "
        "\"split\": \"test\", \"category\": \"nut\"}\n"
        "{\"path\": \"c.png\", \"label\": \"1\", \"mask\": \"m.png\"}\n"
        "{\"path\": \"d.png\", \"label\": null, \"mask\": null}";
    write_bytes("j/manifest.jsonl", table, sizeof table - 1);
    check_both("j", "jsonl",
               "~ a 1 ~ c.png<m.png\n~ a -1 ~ d.png\n~ r 0 good a.png\nnut t 1 ~ b.png<m/0.png<m/1.png\n");
    cz_dataset *d = NULL;
    assert_int_equal(cz_dataset_open_manifest(below("j/manifest.jsonl"), &d), CZ_OK);
    assert_string_equal(cz_dataset_layout(d), "jsonl");
    cz_dataset_close(d);
    bad_json("{\"path\": \"a.png\"", "manifest.jsonl:1: is no JSON");
    bad_json("[\"a.png\"]\n", "is no JSON object");
    bad_json("{\"path\": 7}\n", "\"path\" has a value of a wrong kind");
    bad_json("{\"label\": 1}\n", "a path is empty");
    bad_json("{\"path\": \"a\", \"label\": 2}\n", "neither 0 nor 1");
    bad_json("{\"path\": \"a\", \"label\": 0.5}\n", "wrong kind");
    bad_json("{\"path\": \"../a\"}\n", "leaves its folder");
    bad_json("{\"path\": \"a\", \"mask\": [\"/b\"]}\n", "leaves its folder");
    bad_json("{\"path\": \"a\", \"mask\": [3]}\n", "a mask is no string");
    bad_json("{\"path\": \"a\", \"path\": \"b\"}\n", "is no JSON: duplicate");
    bad_json("{\"path\": \"a\\u0000b\"}\n", "is no JSON");
    bad_json("{\"path\": \"a\"}\n{\"path\": \"./a\"}\n", "manifest.jsonl:2: \"a\" is also in line 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(csv, begin, end),
        cmocka_unit_test_setup_teardown(hostile_csv, begin, end),
        cmocka_unit_test_setup_teardown(jsonl, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
