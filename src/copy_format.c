/*-------------------------------------------------------------------------
 *
 * copy_format.c
 *		When COPY between two databases may use its binary format; names.
 *
 * Binary values are not checked against a type, so they must surely mean the
 * same on both sides; where that is in doubt, text is used.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "sessmgr.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* Always in quotes: the target may have keywords that are not known here. */
void
sm_append_quoted(StringInfo buf, const char *identifier)
{
	appendStringInfoChar(buf, '"');
	for (const char *p = identifier; *p; p++)
	{
		if (*p == '"')
			appendStringInfoChar(buf, '"');
		appendStringInfoChar(buf, *p);
	}
	appendStringInfoChar(buf, '"');
}

/*
 * The functions that write and read binary values convert strings from and to
 * the encoding of this backend's client.
 */
bool
sm_copy_binary_possible(void)
{
	return pg_get_client_encoding() == GetDatabaseEncoding();
}

/* Types whose binary form is the text and nothing else. */
static bool
is_string(Oid type)
{
	return type == TEXTOID || type == VARCHAROID || type == BPCHAROID;
}

/* Can values of this type be sent and received? */
static bool
has_binary_form(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	bool		has = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_type form = (Form_pg_type) GETSTRUCT(tuple);

		has = OidIsValid(form->typsend) && OidIsValid(form->typreceive);
		ReleaseSysCache(tuple);
	}
	return has;
}

/*
 * Is the binary form of a type of this database the same as that of a type of
 * the target?  A domain here is what it is over; there the server has said so.
 */
bool
sm_copy_types_agree(Oid here, Oid there, const SmConn *conn)
{
	Oid			element;

	here = getBaseType(here);
	if (here >= FirstGenbkiObjectId || there >= FirstGenbkiObjectId)
		return false;
	if (here != there && !(is_string(here) && is_string(there)))
		return false;
	/* it means what it says, in every database */
	if (sm_shared_type(here) != here)
		return false;
	element = get_element_type(here);
	switch (OidIsValid(element) ? element : here)
	{
		case XMLOID:
			/* carries an encoding */
			return false;
		case INTERVALOID:
			/* since 17 some values are infinity */
			if (PQserverVersion(conn->pg) / 10000 != PG_VERSION_NUM / 10000)
				return false;
			break;
		default:
			break;
	}
	return has_binary_form(here) &&
		(!OidIsValid(element) || has_binary_form(element));
}
