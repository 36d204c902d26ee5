/* catalog.c - what all implementations of the catalog share; see catalog.h. */
#include "coordinator/catalog.h"

void lathe_catalog_entry_fini(struct lathe_catalog_entry *entry)
{
    lathe_buf_fini(&entry->key);
    lathe_buf_fini(&entry->value);
    entry->revision = 0;
}
