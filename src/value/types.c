/*-------------------------------------------------------------------------
 *
 * types.c
 *		What types two databases have in common, and in which form their values
 *		travel.
 *
 * Only types with a fixed id mean the same on both sides.  Their values travel
 * in binary form where that surely is the same, too; everything else travels
 * as text.  Binary values are not checked against a type, so where there is a
 * doubt, text it is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "value/value_private.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/*
 * A domain is what it is over, also in an array; *element, if that is such an
 * array: what its elements are then, otherwise InvalidOid.  The values of both
 * types are the same, but for the element's type that an array has in it.
 */
Oid
sm_base_type(Oid type, Oid *element)
{
	Oid			base;
	Oid			of;
	Oid			of_base;
	Oid			array;

	*element = InvalidOid;
	if (type < FirstGenbkiObjectId)
		return type;
	base = getBaseType(type);
	of = get_element_type(base);
	of_base = OidIsValid(of) ? getBaseType(of) : InvalidOid;
	array = of_base != of ? get_array_type(of_base) : InvalidOid;
	if (!OidIsValid(array))
		return base;
	*element = of_base;
	return array;
}

/*
 * The type to declare to the server: for a type that is not surely the same
 * there, as for literals, the server infers it.
 */
Oid
sm_sent_type(Oid type)
{
	if (type == UNKNOWNOID || type >= FirstGenbkiObjectId)
		return InvalidOid;
	return type;
}

/* The type of the values that the form of this type's values depends on. */
static Oid
element_type(Oid type)
{
	Oid			element = get_element_type(type);

	return OidIsValid(element) ? element : type;
}

/*
 * The local type to read a column as when the caller declared none: its own if
 * it surely is the same here, text otherwise.
 */
Oid
sm_shared_type(Oid type)
{
	if (type >= FirstGenbkiObjectId)
		return TEXTOID;
	switch (element_type(type))
	{
			/* ids and names of objects over there */
		case REGPROCOID:
		case REGPROCEDUREOID:
		case REGOPEROID:
		case REGOPERATOROID:
		case REGCLASSOID:
		case REGTYPEOID:
		case REGROLEOID:
		case REGNAMESPACEOID:
		case REGCONFIGOID:
		case REGDICTIONARYOID:
		case REGCOLLATIONOID:
			/* no input function that takes anything */
		case PG_NODE_TREEOID:
			/* depends on settings */
		case CASHOID:
		case PG_NDISTINCTOID:
		case PG_DEPENDENCIESOID:
		case PG_MCV_LISTOID:
		case PG_BRIN_BLOOM_SUMMARYOID:
		case PG_BRIN_MINMAX_MULTI_SUMMARYOID:
			return TEXTOID;
		default:
			break;
	}
	if (get_typtype(type) != TYPTYPE_BASE && get_typtype(type) != TYPTYPE_RANGE &&
		get_typtype(type) != TYPTYPE_MULTIRANGE)
		return TEXTOID;
	return type;
}

/* ----------
 * Text form
 * ----------
 */
static bool
is_name_of_object(Oid type)
{
	switch (type)
	{
		case REGPROCOID:
		case REGPROCARRAYOID:
		case REGPROCEDUREOID:
		case REGPROCEDUREARRAYOID:
		case REGOPEROID:
		case REGOPERARRAYOID:
		case REGOPERATOROID:
		case REGOPERATORARRAYOID:
		case REGCLASSOID:
		case REGCLASSARRAYOID:
		case REGTYPEOID:
		case REGTYPEARRAYOID:
		case REGCONFIGOID:
		case REGCONFIGARRAYOID:
		case REGDICTIONARYOID:
		case REGDICTIONARYARRAYOID:
		case REGCOLLATIONOID:
		case REGCOLLATIONARRAYOID:
			return true;
		default:
			return false;
	}
}

static bool
is_money(Oid type)
{
	return type == CASHOID || type == MONEYARRAYOID;
}

/* Is it such a type, or made of any? */
static bool
has_part(Oid type, bool (*is) (Oid))
{
	TupleDesc	desc;
	bool		found = false;

	check_stack_depth();
	if (type < FirstGenbkiObjectId)
		return is(type);
	if (OidIsValid(get_element_type(type)))
		return has_part(get_element_type(type), is);
	switch (get_typtype(type))
	{
		case TYPTYPE_DOMAIN:
			return has_part(getBaseType(type), is);
		case TYPTYPE_RANGE:
			return has_part(get_range_subtype(type), is);
		case TYPTYPE_MULTIRANGE:
			return has_part(get_multirange_range(type), is);
		case TYPTYPE_COMPOSITE:
			desc = lookup_rowtype_tupdesc(type, -1);
			for (int i = 0; i < desc->natts && !found; i++)
				found = !TupleDescAttr(desc, i)->attisdropped &&
					has_part(TupleDescAttr(desc, i)->atttypid, is);
			ReleaseTupleDesc(desc);
			return found;
		default:
			return false;
	}
}

/* Does the text form of this type's values depend on search_path? */
bool
sm_type_names_objects(Oid type)
{
	return has_part(type, is_name_of_object);
}

/* Does it depend on lc_monetary? */
bool
sm_type_has_money(Oid type)
{
	return has_part(type, is_money);
}

/* ----------
 * Binary form
 * ----------
 */

/*
 * May values travel to and from this connection in binary form?  The functions
 * that write and read it convert strings from and to the encoding of this
 * backend's client.
 */
bool
sm_binary_possible(const SmPeer *peer)
{
	return peer->integer_datetimes &&
		peer->endpoint->options.binary == SM_BINARY_AUTO &&
		pg_get_client_encoding() == GetDatabaseEncoding();
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

/* How values of this type, which is no domain, travel if binary is possible. */
SmForm
sm_type_form(Oid type)
{
	Oid			element;

	/* it must mean what it says, in every database */
	if (type == UNKNOWNOID || type >= FirstGenbkiObjectId || sm_shared_type(type) != type)
		return SM_FORM_TEXT;
	/* these are arrays to get_element_type(), and not received when empty */
	element = element_type(type);
	if (type == INT2VECTOROID || type == OIDVECTOROID ||
		element == INT2VECTOROID || element == OIDVECTOROID)
		return SM_FORM_TEXT;
	if (!has_binary_form(type) || !has_binary_form(element))
		return SM_FORM_TEXT;
	switch (element)
	{
			/* carries an encoding */
		case XMLOID:
			/* an empty one cannot be received by some releases */
		case TSQUERYOID:
			return SM_FORM_TEXT;
		case INTERVALOID:
			/* since 17 some values are infinity */
			return SM_FORM_SAME_MAJOR;
		default:
			return SM_FORM_BINARY;
	}
}

/*
 * Is the binary form of a type of this database the same as that of a type of
 * the target?  A domain here is what it is over; there the server has said so.
 */
bool
sm_types_agree(Oid here, Oid there, const SmPeer *peer)
{
	here = getBaseType(here);
	if (here != there && !(is_string(here) && is_string(there)))
		return false;
	switch (sm_type_form(here))
	{
		case SM_FORM_BINARY:
			return true;
		case SM_FORM_SAME_MAJOR:
			return peer->same_major;
		case SM_FORM_TEXT:
			break;
	}
	return false;
}
